import Graph
import Image
import Testing

@testable import nacre

@Suite("The command line of nacre io")
struct IOArgumentsTests {
    @Test("commands keep their order, and options say how the image is opened")
    func forms() throws {
        let read = try IOArguments([
            "-c", "read 0 1", "-cquit", "-rn", "-i", "native", "-d", "unmap", "-fqcow2", "disk", "-T", "x",
            "--cmd=length",
        ])
        #expect(read.commands == ["read 0 1", "quit", "length"])
        #expect(read.warnings == ["trace event 'x' does not exist"])
        var expected = IOOpening(filename: "disk")
        expected.isReadOnly = true
        expected.cache = .direct
        expected.aio = .native
        expected.discards = true
        expected.format = "qcow2"
        #expect(read.opening == expected)
        #expect(try IOArguments(["-c", "help"]).opening == nil)
    }

    @Test("options in a file name's place are told apart from a name, and old forms are warned of")
    func imageOptions() throws {
        let read = try IOArguments(["--image-opts", "driver=qcow2,file.filename=a,,b,nofoo"])
        #expect(read.opening?.filename == nil)
        #expect(read.opening?.options["file.filename"] == "a,b")
        #expect(
            read.warnings == ["short-form boolean option 'nofoo' deprecated\nPlease use foo=off instead"])
    }

    @Test(
        "what is wrong is told as qemu-io tells it",
        arguments: [
            (["-t", "bad", "a"], "Invalid cache option: bad"), (["-i", "bad", "a"], "Invalid aio option: bad"),
            (["-d", "bad", "a"], "Invalid discard option: bad"),
            (["--image-opts", "-f", "raw", "a"], "--image-opts and -f are mutually exclusive"), (["a", "b"], ""),
            (["-x"], "invalid option -- 'x'"),
        ])
    func mistakes(words: [String], message: String) {
        #expect { try IOArguments(words) } throws: { ($0 as? UsageMistake)?.message == message }
    }
}
