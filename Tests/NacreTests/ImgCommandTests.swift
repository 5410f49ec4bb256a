import Commands
import Image
import Testing

@testable import nacre

@Suite("The image tool's command line")
struct ImgCommandTests {
    private func read<Command: ImgCommand>(_ type: Command.Type, _ words: [String]) throws -> Command {
        try Command(Command.syntax.readAsQEMUImg(words))
    }

    @Test("short options take their value joined or apart, and stand before or behind operands")
    func forms() throws {
        let create = try read(ImgCreate.self, ["-qfqcow2", "a.qcow2", "-o", "compat=v2", "-ocluster_size=4k", "1M"])
        #expect(create.isQuiet)
        #expect(create.format == "qcow2")
        #expect(create.request?.path == "a.qcow2")
        #expect(create.request?.size == "1M")
        #expect(create.request?.options["compat"] == "v2")
        #expect(create.request?.options["cluster_size"] == "4k")
    }

    @Test("every option has a long form too")
    func longForms() throws {
        let create = try read(
            ImgCreate.self,
            [
                "--format=qcow2", "--backing", "b", "--backing-format=raw", "--backing-unsafe", "--options",
                "compat=v2", "a",
            ])
        #expect(create.format == "qcow2" && create.backing == "b" && create.backingFormat == "raw")
        #expect(!create.checksBacking)
        #expect(try read(ImgSnapshot.self, ["--create", "one", "a"]).action == .create("one"))
        #expect(try read(ImgMap.self, ["--start-offset=1k", "--max-length", "2k", "a"]).count == 2048)
    }

    @Test("behind -- everything is an operand")
    func operands() throws {
        #expect(try read(ImgInfo.self, ["--output=json", "--", "-x"]).image.place == .file("-x"))
    }

    @Test("offsets are read as sizes")
    func sizes() throws {
        let map = try read(ImgMap.self, ["-s", "64k", "--max-length=1M", "-U", "a"])
        #expect(map.start == 65536)
        #expect(map.count == 1 << 20)
        #expect(map.image.forceShare)
    }

    @Test("the last word of resize is its size, whatever it looks like")
    func resize() throws {
        let resize = try read(ImgResize.self, ["--shrink", "-f", "qcow2", "a", "-1G"])
        #expect(resize.image == ImageReference("a", format: "qcow2"))
        #expect(resize.size == "-1G" && resize.mayShrink)
    }

    @Test("what is done with a bitmap keeps its order")
    func bitmap() throws {
        let bitmap = try read(ImgBitmap.self, ["--merge", "x", "--clear", "--merge=y", "--add", "a", "b"])
        #expect(bitmap.request.commands == [.merge("x"), .clear, .merge("y"), .add])
    }

    @Test("help among the options of a format asks for their list, and then nothing else is needed")
    func optionLists() throws {
        #expect(try read(ImgCreate.self, ["-f", "qcow2", "-o", "help"]).request == nil)
        #expect(try read(ImgCreate.self, ["-o", "compat=v2,help", "a"]).request == nil)
        guard case .list("qcow2") = try read(ImgAmend.self, ["-fqcow2", "-o", "?"]).request else {
            Issue.record("amend -o ? lists nothing")
            return
        }
        // Without a format it is that of the image.
        guard case .listFor(ImageReference("a")) = try read(ImgAmend.self, ["-o", "help", "a"]).request else {
            Issue.record("amend -o help does not ask the image")
            return
        }
    }

    @Test("what cannot be made or changed has no list of options")
    func noOptions() throws {
        #expect(try FormatOptionText.creating("qcow2", isNamed: false).contains("  data_file=<str>        - "))
        #expect(try FormatOptionText.creating("raw", isNamed: true).hasPrefix("Supported options:\n"))
        #expect(throws: ImageError("Format driver 'bochs' does not support image creation")) {
            _ = try FormatOptionText.creating("bochs", isNamed: false)
        }
        #expect(throws: ImageError("Format driver 'raw' does not support option amendment")) {
            _ = try FormatOptionText.amending("raw")
        }
        #expect(throws: ImageError("Unknown file format 'foo'")) { _ = try FormatOptionText.amending("foo") }
    }

    @Test(
        "a mistake is told as qemu-img tells it",
        arguments: [
            ("create", [], "Expecting image file name", true),
            ("create", ["a", "1M", "x"], "Unexpected argument: x", true),
            ("create", ["-Z"], "unrecognized option '-Z'", true),
            ("create", ["-f"], "missing argument for option '-f'", true),
            ("create", ["-o", "", "a"], "Invalid option list: ", false),
            ("info", ["a", "b"], "Expecting one image file name", true),
            ("info", ["--output=xml", "a"], "--output must be used with human or json as argument.", false),
            ("check", ["-r", "foo", "a"], "Unknown option value for -r (expecting 'leaks' or 'all'): foo", true),
            ("snapshot", ["-l", "-c", "x", "a"], "Cannot mix '-l', '-a', '-c', '-d'", true),
            ("resize", ["a"], "Not enough arguments", true),
            ("resize", ["-f", "qcow2", "1G"], "Expecting image file name and size", true),
            (
                "bitmap", ["a", "b"], "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge",
                false
            ),
            ("amend", ["a"], "Must specify options (-o)", true),
            ("amend", ["-o", "help"], "Expecting one image file name", false),
        ] as [(String, [String], String, Bool)])
    func mistakes(command: String, words: [String], message: String, sendsToHelp: Bool) throws {
        let type = try #require(ImgProgram.commands.first { $0.syntax.name == command })
        #expect(throws: UsageMistake(message, sendsToHelp: sendsToHelp)) {
            _ = try type.init(type.syntax.readAsQEMUImg(words))
        }
    }
}
