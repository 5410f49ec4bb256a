import Daemon
import Graph
import HostIO
import Image
import Testing

@testable import nacre

@Suite("The command line of nacre nbd")
struct NBDArgumentsTests {
    @Test("without options one client is served on TCP port 10809, and then it ends")
    func defaults() throws {
        let read = try NBDArguments(["disk"])
        #expect(read.request == .serve)
        #expect(read.service.address == .inet(host: "0.0.0.0", port: "10809"))
        #expect(read.service.clients == 1 && !read.service.isPersistent && read.service.name.isEmpty)
        var image = IOOpening(filename: "disk")
        image.discards = false
        #expect(read.service.image == image)
    }

    @Test("options say what is shown, to whom, and how the image is opened")
    func forms() throws {
        let read = try NBDArguments([
            "-tAe0", "-k", "/s", "-xname", "-D", "text", "-o", "512", "-B", "one", "-B", "two", "-rn",
            "--discard=unmap",
            "--detect-zeroes", "unmap", "--aio=native", "-f", "qcow2", "--fork", "--pid-file=p", "-v", "disk",
        ])
        let service = read.service
        #expect(service.address == .unix(path: "/s"))
        #expect(service.clients == 0 && service.isPersistent && service.offersDepth)
        #expect(service.name == "name" && service.description == "text" && service.offset == 512)
        #expect(service.bitmaps == ["one", "two"])
        #expect(read.forks && read.pidFile == "p")
        let image = service.image
        #expect(image.isReadOnly && image.cache == .direct && image.discards && image.detectZeroes == .unmap)
        #expect(image.aio == .native && image.format == "qcow2")
    }

    @Test("a process that was started for a socket serves on that, and takes no other address")
    func activation() throws {
        let environment = ["LISTEN_PID": "7", "LISTEN_FDS": "1"]
        #expect(NBDArguments.inherited({ environment[$0] }, process: 7) == 1)
        #expect(NBDArguments.inherited({ environment[$0] }, process: 8) == nil)
        #expect(NBDArguments.inherited({ ["LISTEN_PID": "7", "LISTEN_FDS": "0"][$0] }, process: 7) == nil)
        #expect(NBDArguments.inherited({ ["LISTEN_PID": "7", "LISTEN_FDS": "many"][$0] }, process: 7) == nil)
        #expect(try NBDArguments(["disk"], inherited: 1).service.address == .descriptor(3))
        for words in [["-p", "1"], ["-b", "x"], ["-k", "/s"], ["-c", "/dev/nbd0"]] {
            #expect { try NBDArguments(words + ["disk"], inherited: 1) } throws: {
                ($0 as? NBDArguments.Mistake)?.message.hasSuffix("can't be set when using socket activation") == true
            }
        }
        #expect(throws: NBDArguments.Mistake.self) { try NBDArguments(["disk"], inherited: 2) }
    }

    @Test(
        "what is wrong is told as qemu-nbd tells it",
        arguments: [
            ([], "Invalid number of arguments"), (["a", "b"], "Invalid number of arguments"),
            (["-e", "-1", "a"], "Invalid shared device number '-1'"), (["-o", "x", "a"], "Invalid offset 'x'"),
            (["-n", "--cache=none", "a"], "-n and --cache can only be specified once"),
            (["-k", "rel", "a"], "socket path must be absolute"),
            (["-L", "a"], "List mode is incompatible with a file name"),
            (["-L", "-x", "a"], "List mode is incompatible with per-device settings"),
            (
                ["--detect-zeroes=unmap", "a"],
                "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap"
            ),
        ])
    func mistakes(words: [String], message: String) {
        #expect { try NBDArguments(words) } throws: { ($0 as? NBDArguments.Mistake)?.message == message }
    }
}
