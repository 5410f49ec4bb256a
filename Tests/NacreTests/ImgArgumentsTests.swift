import Image
import Testing

@testable import nacre

@Suite("The image tool's command line")
struct ImgArgumentsTests {
    @Test("short options take their value joined or apart, and stand before or behind operands")
    func forms() throws {
        let arguments = try ImgArguments(
            .create, ["-qfqcow2", "a.qcow2", "-o", "compat=v2", "-ocluster_size=4k", "1M"])
        #expect(arguments.isQuiet)
        #expect(arguments.format == "qcow2")
        #expect(arguments.operands == ["a.qcow2", "1M"])
        #expect(arguments.options["compat"] == "v2")
        #expect(arguments.options["cluster_size"] == "4k")
    }

    @Test("behind -- everything is an operand")
    func operands() throws {
        #expect(try ImgArguments(.info, ["--output=json", "--", "-x"]).operands == ["-x"])
    }

    @Test("offsets are read as sizes")
    func sizes() throws {
        let arguments = try ImgArguments(.map, ["-s", "64k", "--max-length=1M", "-U", "a"])
        #expect(arguments.start == 65536)
        #expect(arguments.count == 1 << 20)
        #expect(arguments.forceShare)
    }

    @Test(
        "a mistake is told as qemu-img tells it",
        arguments: [
            (ImgArguments.Command.create, [], "Expecting image file name", true),
            (.create, ["a", "1M", "x"], "Unexpected argument: x", true),
            (.create, ["-Z"], "unrecognized option '-Z'", true),
            (.create, ["-f"], "missing argument for option '-f'", true),
            (.create, ["-o", "", "a"], "Invalid option list: ", false),
            (.info, ["a", "b"], "Expecting one image file name", true),
            (.info, ["--output=xml", "a"], "--output must be used with human or json as argument.", false),
            (.check, ["-r", "foo", "a"], "Unknown option value for -r (expecting 'leaks' or 'all'): foo", true),
        ] as [(ImgArguments.Command, [String], String, Bool)])
    func mistakes(command: ImgArguments.Command, words: [String], message: String, sendsToHelp: Bool) {
        #expect(throws: ImgArguments.Mistake(message: message, sendsToHelp: sendsToHelp)) {
            try ImgArguments(command, words)
        }
    }
}
