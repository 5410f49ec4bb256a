import FoundationEssentials
import Glibc
import Testing

@Suite("Drives with trays", .paced, .onlyNacre, .needs("qemu-img", "nbdinfo"))
struct DriveTests {
    /// Starts a daemon that has a monitor and no more than these words ask for.
    private func serve(
        _ scratch: Scratch, _ words: [String], program: [String] = Subject.daemon, before: [String] = []
    ) async throws -> (Child, QMPSession) {
        let child = try scratch.start(
            before + program + ["--chardev", "socket,id=m,path=\(scratch.file("d.qmp")),server=on,wait=off"]
                + ["--monitor", "m"] + words)
        let up = try await eventually(within: 20) {
            scratch.exists("d.qmp") || !child.isRunning ? true : nil
        }
        guard up == true, child.isRunning else {
            throw Trouble("did not come up: \(try await child.wait(seconds: 5).err)")
        }
        return (child, try await QMPSession(scratch.file("d.qmp")))
    }

    private func stop(_ child: Child) async throws -> Child.Outcome {
        child.signal(SIGTERM)
        let outcome = try await child.wait(seconds: 30)
        #expect(outcome.ending == .exited(0), "\(outcome.err)")
        return outcome
    }

    /// The answer to one line, events before it left out: they are another test's.
    private func answer(_ session: QMPSession, _ request: String) async throws -> String {
        try session.send(request + "\n")
        while true {
            let line = try await session.line().replacing("\r", with: "")
            if !line.hasPrefix("{\"timestamp\"") { return line }
        }
    }

    /// The examples that users know. The folder of the images is the test's.
    private static let examples = """
        -> { "execute": "blockdev-change-medium", "arguments": { "device": "ide1-cd0", "filename": "/srv/images/Fedora-12-x86_64-DVD.iso", "format": "raw" } }
        <- {"return": {}}
        -> { "execute": "blockdev-change-medium", "arguments": { "device": "isa-fd0", "filename": "/srv/images/ro.img", "format": "raw", "read-only-mode": "retain" } }
        <- {"error": {"class": "GenericError", "desc": "Could not open '/srv/images/ro.img': Permission denied"}}
        -> { "execute": "blockdev-change-medium", "arguments": { "device": "isa-fd0", "filename": "/srv/images/ro.img", "format": "raw", "read-only-mode": "read-only" } }
        <- {"return": {}}
        -> { "execute": "blockdev-add", "arguments": { "options": { "driver": "qcow2", "node-name": "node1534", "file": { "driver": "file", "filename": "hd1.qcow2" }, "backing": "" } } }
        <- {"return": {}}
        -> { "execute": "blockdev-snapshot", "arguments": { "node": "ide-hd0", "overlay": "node1534" } }
        <- {"return": {}}
        -> { "execute": "blockdev-add", "arguments": { "options": { "driver": "qcow2", "id": "drive0", "file": { "driver": "file", "filename": "test.qcow2" } } } }
        <- {"return": {}}
        -> { "execute": "x-blockdev-del", "arguments": { "id": "drive0" } }
        <- {"return": {}}
        """

    @Test("the examples that users know are answered to the letter, to an unprivileged daemon", .needs("setpriv"))
    func examples() async throws {
        try await Scratch.use { scratch in
            for (name, format, size) in [
                ("Fedora-12-x86_64-DVD.iso", "raw", "4M"), ("old.iso", "raw", "2M"), ("ro.img", "raw", "1440k"),
                ("floppy.img", "raw", "1440k"), ("hd0.qcow2", "qcow2", "4M"), ("hd1.qcow2", "qcow2", "4M"),
                ("test.qcow2", "qcow2", "4M"),
            ] { try await scratch.ok("qemu-img", "create", "-q", "-f", format, name, size) }
            try await scratch.ok("chmod", "0444", scratch.file("ro.img"))
            var before: [String] = []
            if geteuid() == 0 {
                before = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
                try await scratch.ok("chown", "-R", "65534:65534", scratch.path)
                let reach = try await scratch.run(before + ["test", "-x", Subject.nacre])
                guard reach.status == 0 else { try Test.cancel("skipped: nobody may not run \(Subject.nacre)") }
            }
            let (child, session) = try await serve(
                scratch,
                [
                    "--blockdev", "driver=raw,node-name=iso,read-only=on,file.driver=file,file.filename=old.iso",
                    "--device", "ide-cd,id=ide1-cd0,drive=iso",
                    "--blockdev", "driver=raw,node-name=fd,file.driver=file,file.filename=floppy.img",
                    "--device", "floppy,id=isa-fd0,drive=fd",
                    "--blockdev", "driver=qcow2,node-name=hd,file.driver=file,file.filename=hd0.qcow2",
                    "--device", "ide-hd,id=ide-hd0,drive=hd",
                ], before: before)
            var wanted: String?
            for line in Self.examples.replacing("/srv/images", with: scratch.path).split(separator: "\n") {
                if line.hasPrefix("-> ") {
                    wanted = try await answer(session, String(line.dropFirst(3)))
                } else {
                    #expect(String(line.dropFirst(3)) == wanted)
                }
            }
            // The device moved to the overlay, and what was refused left the old medium in.
            let drives = try await session.execute("query-block").items
            #expect(drives.map { $0["inserted"]?["node-name"] }[2] == "node1534")
            #expect(drives[1]["inserted"]?["ro"] == true)
            _ = try await stop(child)
        }
    }

    @Test("a change that fails leaves the medium in and tells nothing; one that succeeds tells of both movements first")
    func order() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "a.iso", "1M")
            let (child, session) = try await serve(scratch, ["--device", "scsi-cd,id=cd"])
            let change: JSONValue = ["id": "cd", "filename": "a.iso", "format": "raw"]
            try await session.execute("blockdev-change-medium", change)
            #expect(session.events.map { $0["data"]?["tray-open"] } == [true, false])
            #expect(session.events.allSatisfy { $0["data"]?["device"] == "cd" && $0["data"]?["id"] == "cd" })
            let missing: JSONValue = ["id": "cd", "filename": "absent.iso", "format": "raw"]
            #expect(
                try await session.refusal("blockdev-change-medium", missing).text
                    == "Could not open 'absent.iso': No such file or directory")
            #expect(session.events.count == 2)
            let drive = try await session.execute("query-block").items.first
            #expect(drive?["inserted"]?["file"] == "a.iso" && drive?["tray_open"] == false)
            _ = try await stop(child)
        }
    }

    @Test("the words of 2.5 are taken beside today's, but not by who is called as QEMU's daemon")
    func dialects() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M")
            let wrapped =
                #"{"execute": "blockdev-add", "arguments": {"options": {"driver": "qcow2", "id": "d", "node-name": "n", "aio": "threads", "rerror": "stop", "stats-account-failed": false, "cache": {"writeback": true, "direct": false}, "file": {"driver": "file", "filename": "a.qcow2"}}}}"#
            func error(_ text: String) -> String { #"{"error": {"class": "GenericError", "desc": "\#(text)"}}"# }
            let (child, session) = try await serve(scratch, [])
            let done = #"{"return": {}}"#
            #expect(try await answer(session, wrapped) == done)
            #expect(try await answer(session, wrapped) == error("Device with id 'd' already exists"))
            let drive = try await session.execute("query-block").items.first
            #expect(drive?["device"] == "d" && drive?["inserted"]?["node-name"] == "n" && drive?["qdev"] == nil)
            let stats = try await session.execute("query-blockstats").items.first?["stats"]
            #expect(stats?["account_failed"] == false && stats?["account_invalid"] == true)
            for (request, wanted) in [
                (
                    #"{"options": {"driver": "null-co"}}"#,
                    "'id' and/or 'node-name' need to be specified for the root node"
                ),
                (#"{"options": {"id": "x"}}"#, "Parameter 'options.driver' is missing"),
                (
                    #"{"options": {"driver": "null-co", "id": "x", "bogus": 1}}"#,
                    "Parameter 'options.bogus' is unexpected"
                ),
                (
                    #"{"options": {"driver": "null-co", "id": "x", "aio": "native"}}"#,
                    "aio=native requires cache.direct=true"
                ),
                (#"{"options": 1}"#, "Parameter 'driver' is missing"),
                (#"{"driver": "null-co", "node-name": "x", "options": {}}"#, "Parameter 'options' is unexpected"),
            ] {
                let line = #"{"execute": "blockdev-add", "arguments": \#(request)}"#
                #expect(try await answer(session, line) == error(wanted), "\(line)")
            }
            #expect(
                try await session.refusal("x-blockdev-remove-medium", ["device": "nope"]).errorClass == "DeviceNotFound"
            )
            try await session.execute("x-blockdev-remove-medium", ["device": "d"])
            try await session.execute("change", ["device": "d", "target": "a.qcow2", "arg": "qcow2"])
            try await session.execute("x-blockdev-del", ["id": "d"])
            try await session.execute(
                "object-add", ["qom-type": "secret", "id": "s", "props": ["data": "a secret of 2.5"]])
            #expect(try await session.execute("query-events").items.contains(["name": "DEVICE_TRAY_MOVED"]))
            _ = try await stop(child)
            try await scratch.ok("ln", "-s", Subject.nacre, "qemu-storage-daemon")
            try await scratch.ok("rm", "-f", "d.qmp")
            let (peer, other) = try await serve(scratch, [], program: [scratch.file("qemu-storage-daemon")])
            #expect(try await answer(other, wrapped) == error("Parameter 'driver' is missing"))
            _ = try await stop(peer)
        }
    }

    @Test("over NBD an empty drive cannot be chosen, and a change of medium ends the connections", .needs("python3"))
    func nbd() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "a.iso", "1M")
            try await scratch.ok("qemu-img", "create", "-q", "-f", "raw", "b.iso", "2M")
            let socket = scratch.file("d.nbd")
            let uri = "nbd+unix:///cd?socket=\(socket)"
            let (child, session) = try await serve(
                scratch,
                [
                    "--device", "scsi-cd,id=cd", "--nbd-server", "addr.type=unix,addr.path=\(socket)", "--export",
                    "type=nbd,id=e,node-name=cd",
                ])
            #expect(try await scratch.run(["nbdinfo", "--size", uri]).status != 0)
            try await session.execute("blockdev-change-medium", ["id": "cd", "filename": "a.iso", "format": "raw"])
            #expect(try await scratch.ok("nbdinfo", "--size", uri) == "1048576\n")
            let client = try scratch.start(["python3", Tool.script("nbd_until_end.py"), socket, "cd"])
            #expect(try await scratch.appears("d.nbd.in"))
            #expect(try await session.refusal("block-export-del", ["id": "e"]).text == "export 'e' still in use")
            try await session.execute("blockdev-change-medium", ["id": "cd", "filename": "b.iso", "format": "raw"])
            #expect(try await client.wait(seconds: 20).ending == .exited(0))
            #expect(try await scratch.ok("nbdinfo", "--size", uri) == "2097152\n")
            try await session.execute("blockdev-open-tray", ["id": "cd"])
            #expect(try await scratch.run(["nbdinfo", "--size", uri]).status != 0)
            #expect(try await session.refusal("device_del", ["id": "cd"]).text == "Device 'cd' is in use by 'e'")
            try await session.execute("block-export-del", ["id": "e"])
            try await session.execute("device_del", ["id": "cd"])
            #expect(
                session.events.last?["data"] == ["device": "cd", "path": "/machine/peripheral/cd"],
                "\(session.events)")
            _ = try await stop(child)
        }
    }

    @Test(
        "an iSCSI target lets in who may log in, and a CHAP secret is told to nobody", .needs("iscsi-inq", "iscsi-ls"))
    func iscsi() async throws {
        try await Scratch.use { scratch in
            let (secret, wrong) = ("correct-horse-battery", "incorrect-horse-staple")
            try Data(secret.utf8).write(to: URL(filePath: scratch.file("secret")))
            let port = 20_000 + Int(getpid()) % 20_000
            let target = "iqn.2026-01.org.example:drives"
            let (child, session) = try await serve(
                scratch,
                [
                    "--blockdev", "driver=null-co,node-name=disk,size=1048576", "--device",
                    "scsi-hd,id=hd,drive=disk,serial=S123", "--device", "scsi-cd,id=cd", "--object",
                    "secret,id=s,file=secret", "--export",
                    "type=iscsi,id=t,target=\(target),lun.0=hd,lun.1=cd,portal.host=127.0.0.1,portal.port=\(port),"
                        + "chap.user=me,chap.secret=s",
                ])
            func uri(_ password: String, lun: Int = 0) -> String {
                "iscsi://me%\(password)@127.0.0.1:\(port)/\(target)/\(lun)"
            }
            let disk = try await scratch.ok("iscsi-inq", uri(secret))
            #expect(disk.contains("DIRECT_ACCESS") && disk.contains("Removable:0"))
            #expect(try await scratch.ok("iscsi-inq", "-e", "1", "-c", "128", uri(secret)).contains("S123"))
            #expect(try await scratch.ok("iscsi-inq", uri(secret, lun: 1)).contains("MMC"))
            #expect(try await scratch.run(["iscsi-inq", uri(wrong)]).status != 0)
            #expect(try await scratch.run(["iscsi-inq", "iscsi://127.0.0.1:\(port)/\(target)/0"]).status != 0)
            let listed = try await scratch.ok("iscsi-ls", "iscsi://127.0.0.1:\(port)")
            #expect(listed.contains("Target:\(target) Portal:127.0.0.1:\(port),1"))
            #expect(
                try await session.execute("query-block-exports").items
                    == [["id": "t", "type": "iscsi", "node-name": "disk", "shutting-down": false]])
            for (arguments, wanted) in Self.refusals(target, port) {
                let all =
                    #"{"type": "iscsi", "id": "u", "portal": {"host": "127.0.0.1", "port": "\#(port)"}, \#(arguments)}"#
                #expect(try await session.refusal("block-export-add", JSONValue(parsing: all)).text == wanted)
            }
            try await session.execute("object-add", ["qom-type": "secret", "id": "short", "data": "eleven char"])
            let short: JSONValue = [
                "type": "iscsi", "id": "u", "target": "iqn.x:y", "lun": ["hd"],
                "chap": ["user": "u", "secret": "short"],
            ]
            #expect(
                try await session.refusal("block-export-add", short).text
                    == "Secret 'short' has fewer than 12 bytes, too few for CHAP")
            try await session.execute("block-export-del", ["id": "t"])
            #expect(try await scratch.run(["iscsi-ls", "iscsi://127.0.0.1:\(port)"]).status != 0)
            let line = try String(contentsOf: URL(filePath: "/proc/\(child.pid)/cmdline"), encoding: .utf8)
            let outcome = try await stop(child)
            for text in [outcome.out, outcome.err, line] { #expect(!text.contains(secret) && !text.contains(wrong)) }
        }
    }

    @Test("the daemon ends in order while an initiator is busy, and its session ends", .needs("iscsi-perf"))
    func endWhileBusy() async throws {
        try await Scratch.use { scratch in
            let port = 41_000 + Int(getpid()) % 20_000
            let target = "iqn.2026-01.org.example:busy"
            let (child, session) = try await serve(
                scratch,
                [
                    "--blockdev", "driver=null-co,node-name=disk,size=1048576,read-zeroes=on", "--device",
                    "scsi-hd,id=hd,drive=disk", "--export",
                    "type=iscsi,id=t,target=\(target),lun.0=hd,portal.host=127.0.0.1,portal.port=\(port)",
                ])
            let busy = try scratch.start(
                ["iscsi-perf", "-b", "8", "-m", "8", "iscsi://127.0.0.1:\(port)/\(target)/0"])
            var reads: JSONValue? = 0
            for _ in 0..<400 where reads == 0 {
                try await Task.sleep(for: .milliseconds(50))
                reads = try await session.execute("query-blockstats").items.first?["stats"]?["rd_operations"]
            }
            #expect(reads != 0 && busy.isRunning)
            #expect(try await session.refusal("block-export-del", ["id": "t"]).text == "export 't' still in use")
            try await session.execute("quit")
            #expect(try await child.wait(seconds: 20).ending == .exited(0))
            busy.signal(SIGKILL)
            try await busy.wait()
        }
    }

    private static func refusals(_ target: String, _ port: Int) -> [(String, String)] {
        [
            (#""target": "\#(target)", "lun": ["hd"]"#, "The portal already has an iSCSI target named '\(target)'"),
            (#""target": "iqn.x:y", "lun": []"#, "Parameter 'lun.0' is missing"),
            (#""target": "iqn.x:y", "lun": ["absent"]"#, "Cannot find device='' nor node-name='absent'"),
            (
                #""target": "bad", "lun": ["hd"]"#,
                "'bad' is not the name of an iSCSI target (iqn., eui. or naa.)"
            ),
            (
                #""target": "iqn.x:y", "lun": ["hd"], "chap": {"user": "u", "secret": "absent"}"#,
                "No secret with id 'absent'"
            ),
            (
                #""target": "iqn.x:y", "lun": ["hd"], "mutual-chap": {"user": "u", "secret": "s"}"#,
                "Parameter 'mutual-chap' needs 'chap'"
            ),
            (
                #""target": "iqn.x:y", "lun": ["hd"], "chap": {"user": "u", "secret": "s"}, "mutual-chap": {"user": "v", "secret": "s"}"#,
                "Parameters 'chap' and 'mutual-chap' must not have the same secret"
            ),
            (#""target": "iqn.x:y", "lun": ["hd"], "node-name": "hd""#, "Parameter 'node-name' is unexpected"),
        ]
    }

    @Test("R26: a secret is refused on the command line, where everybody reads it")
    func secretInClear() async throws {
        try await Scratch.use { scratch in
            let outcome = try await scratch.run(Subject.daemon + ["--object", "secret,id=s,data=abc"])
            #expect(outcome.status == 1)
            #expect(outcome.err.contains("a secret does not belong on the command line"))
        }
    }

    @Test("a monitor and the NBD server take sockets that were inherited, and one that was passed", .needs("python3"))
    func inherited() async throws {
        try await Scratch.use { scratch in
            // Opens both sockets, and becomes the daemon with them.
            let script = """
                import os, socket, sys
                for number, path in ((10, "d.qmp"), (11, "d.nbd")):
                    s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen(); os.dup2(s.fileno(), number)
                os.execv(sys.argv[1], sys.argv[1:])
                """
            let child = try scratch.start(
                ["python3", "-c", script] + Subject.daemon + [
                    "--chardev", "socket,id=m,fd=10,server=on,wait=off", "--monitor", "m",
                    "--blockdev", "driver=null-co,node-name=n,size=1048576",
                    "--nbd-server", "addr.type=fd,addr.str=11", "--export", "nbd,id=e,node-name=n",
                ])
            let session = try await QMPSession(scratch.file("d.qmp"))
            #expect(
                try await scratch.ok("nbdinfo", "--size", "nbd+unix:///n?socket=\(scratch.file("d.nbd"))")
                    == "1048576\n")
            try await session.execute("nbd-server-stop")
            session.close()
            let told = try await scratch.ok(
                "python3", Tool.script("passing.py"), scratch.file("d.qmp"), scratch.file("e.nbd"), "n")
            // What was taken is gone.
            #expect(told == "1048576\nFile descriptor named 'l' has not been found\n")
            _ = try await stop(child)
        }
    }

    @Test("descriptors that nothing is open from go with the last client, those that are named with theirs")
    func descriptorsEnd() async throws {
        try await Scratch.use { scratch in
            try Data(count: 4096).write(to: URL(filePath: scratch.file("a")))
            let (child, session) = try await serve(scratch, [])
            // Proof: the path is lent as a C string for the call.
            let file = unsafe open(scratch.file("a"), O_RDWR | O_CLOEXEC)
            defer { close(file) }
            for request in ["add-fd", "add-fd"] {
                try session.send(#"{"execute": "\#(request)"}"#, passing: file)
                _ = try await session.answer()
            }
            try session.send(#"{"execute": "getfd", "arguments": {"fdname": "x"}}"#, passing: file)
            _ = try await session.answer()
            // One more that nobody takes.
            try session.send(#"{"execute": "query-version"}"#, passing: file)
            _ = try await session.answer()
            try await session.execute(
                "blockdev-add", ["driver": "file", "node-name": "f", "filename": "/dev/fdset/1"])
            session.close()
            let next = try await QMPSession(scratch.file("d.qmp"))
            #expect(try await next.execute("query-fdsets").items.map { $0["fdset-id"] } == [1])
            #expect(try await next.refusal("closefd", ["fdname": "x"]).text == "File descriptor named 'x' not found")
            let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(child.pid)/fd").filter {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(child.pid)/fd/\($0)"))
                    == scratch.file("a")
            }
            // The one of the set, and the node's.
            #expect(open.count == 2)
            _ = try await stop(child)
        }
    }

    @Test("requests of the monitor for people answer what qemu-io prints, and count")
    func humanRequests() async throws {
        try await Scratch.use { scratch in
            let (child, session) = try await serve(
                scratch,
                [
                    "--blockdev", "driver=null-co,node-name=n,size=1048576,read-zeroes=on", "--device",
                    "scsi-hd,id=hd,drive=n",
                ])
            func human(_ line: String) async throws -> String {
                try await session.execute("human-monitor-command", ["command-line": .string(line)]).string ?? ""
            }
            let read = try await human(#"qemu-io hd "read -P 0 0 64k""#)
            #expect(read.hasPrefix("read 65536/65536 bytes at offset 0\r\n64 KiB, 1 ops; "))
            #expect(
                try await human(#"qemu-io hd "read -q -P 1 0 64k""#)
                    == "Pattern verification failed at offset 0, 65536 bytes\r\n")
            #expect(try await human("qemu-io n length") == "1 MiB\r\n")
            #expect(try await human(#"qemu-io hd "write 1M 1""#) == "write failed: Input/output error\r\n")
            #expect(try await human("qemu-io hd bogus") == "command \"bogus\" not found\r\n")
            let stats = try await session.execute("query-blockstats").items.first?["stats"]
            #expect(stats?["rd_operations"] == 2 && stats?["rd_bytes"] == 131072)
            #expect(stats?["idle_time_ns"] != nil)
            _ = try await stop(child)
        }
    }
}
