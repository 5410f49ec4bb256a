import Daemon
import Testing

@testable import nacre

@Suite("The daemon's command line")
struct DaemonArgumentsTests {
    @Test("options keep their order and their repetitions")
    func order() throws {
        let arguments = try DaemonArguments(
            [
                "--blockdev", "driver=file,node-name=a", "--nbd-server=addr.type=unix,addr.path=s", "--blockdev", "b",
                "--export", "type=nbd,id=e,node-name=a", "--pidfile", "p", "--daemonize",
            ], asQEMU: true)
        #expect(
            arguments.options == [
                DaemonOption(.blockdev, "driver=file,node-name=a"),
                DaemonOption(.nbdServer, "addr.type=unix,addr.path=s"),
                DaemonOption(.blockdev, "b"),
                DaemonOption(.export, "type=nbd,id=e,node-name=a"),
            ])
        #expect(arguments.pidFile == "p")
        #expect(arguments.daemonizes)
        #expect(arguments.words(of: arguments.options[1]) == "--nbd-server=addr.type=unix,addr.path=s")
    }

    @Test("the beginning of a name is enough where it is clear")
    func beginnings() throws {
        let arguments = try DaemonArguments(["--block", "driver=nope", "--mon", "x"], asQEMU: true)
        #expect(arguments.options.map(\.kind) == [.blockdev, .monitor])
        #expect(arguments.words(of: arguments.options[0]) == "--block driver=nope")
    }

    @Test(
        "a mistake is told as qemu-storage-daemon tells it",
        arguments: [
            (["foo"], "foo: Unexpected argument"),
            (["--foo"], "unrecognized option '--foo'"),
            (["--blockdev"], "option '--blockdev' requires an argument"),
            (["-x"], "invalid option -- 'x'"),
            (["-T"], "option requires an argument -- 'T'"),
            (["--daemonize=1"], "option '--daemonize' doesn't allow an argument"),
            (["--sealed"], "unrecognized option '--sealed'"),
        ])
    func mistakes(words: [String], message: String) {
        #expect(throws: DaemonArguments.Mistake(message: message)) { try DaemonArguments(words, asQEMU: true) }
    }

    @Test("devices are made among the others, and are not QEMU's daemon's")
    func devices() throws {
        let words = ["--blockdev", "b", "--device", "scsi-cd,id=cd", "--object=secret,id=s,file=f"]
        #expect(
            try DaemonArguments(words, asQEMU: false).options == [
                DaemonOption(.blockdev, "b"), DaemonOption(.device, "scsi-cd,id=cd"),
                DaemonOption(.object, "secret,id=s,file=f"),
            ])
        #expect(throws: DaemonArguments.Mistake(message: "unrecognized option '--device'")) {
            try DaemonArguments(words, asQEMU: true)
        }
    }

    @Test("help and version are answered whatever else stands on the line")
    func answers() throws {
        #expect(try DaemonArguments(["foo", "--version"], asQEMU: true).request == .version)
        #expect(try DaemonArguments(["--blockdev", "nonsense", "-h", "-V"], asQEMU: true).request == .help)
        #expect(try DaemonArguments([], asQEMU: true).request == .serve)
    }

    @Test("what may be opened is said in one way or the other")
    func authority() throws {
        let arguments = try DaemonArguments(["--allow-path", "/a", "--allow-path=/b"], asQEMU: false)
        #expect(arguments.allowedPaths == ["/a", "/b"])
        #expect(try DaemonArguments(["--sealed"], asQEMU: false).isSealed)
        #expect(throws: DaemonArguments.Mistake(message: "--sealed and --allow-path exclude each other")) {
            try DaemonArguments(["--sealed", "--allow-path", "/a"], asQEMU: false)
        }
    }

    @Test("the memory for clients is a size, of 16 MiB at least, and no option of QEMU's program")
    func memory() throws {
        #expect(try DaemonArguments([], asQEMU: false).memory == 512 << 20)
        #expect(try DaemonArguments(["--memory", "1G"], asQEMU: false).memory == 1 << 30)
        #expect(try DaemonArguments(["--memory=16M"], asQEMU: false).memory == 16 << 20)
        for text in ["15M", "0", "much", "-1", "9E9", "8E"] {
            #expect(throws: DaemonArguments.Mistake.self) { try DaemonArguments(["--memory", text], asQEMU: false) }
        }
        #expect(throws: DaemonArguments.Mistake.self) { try DaemonArguments(["--memory", "1G"], asQEMU: true) }
    }
}
