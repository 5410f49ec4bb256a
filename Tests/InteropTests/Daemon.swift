import FoundationEssentials
import Glibc
import Testing

/// A running storage daemon that exports one node named `disk`, with a monitor.
final class Daemon {
    /// What the daemon serves, and how.
    struct Setting {
        var image: String
        var format = "qcow2"
        var writable = true
        /// Further options of the format node, `key=value`.
        var formatOptions: [String] = []
        /// Further options of the file node, `key=value`.
        var fileOptions: [String] = []
        /// Further words of the command line, after the nodes.
        var words: [String] = []
    }

    let child: Child
    let scratch: Scratch
    let name: String

    var socket: String { "\(name).nbd" }
    var monitorPath: String { scratch.file("\(name).qmp") }

    /// The NBD URI of the export of this name.
    func uri(_ export: String = "disk") -> String { "nbd+unix:///\(export)?socket=\(scratch.file(socket))" }

    fileprivate init(child: Child, scratch: Scratch, name: String) {
        self.child = child
        self.scratch = scratch
        self.name = name
    }

    func monitor() async throws -> QMPSession { try await QMPSession(monitorPath) }

    /// Resizes the disk. The export has to go for that time, since it does not let its node's size change.
    func resize(to size: UInt64) async throws {
        let monitor = try await monitor()
        try await monitor.execute("block-export-del", ["id": "e0", "mode": "hard"])
        guard try await monitor.event("BLOCK_EXPORT_DELETED") != nil else { throw Trouble("the export stays") }
        try await monitor.execute("block_resize", ["node-name": "disk", "size": .unsigned(size)])
        try await monitor.execute(
            "block-export-add",
            ["type": "nbd", "id": "e0", "node-name": "disk", "name": "disk", "writable": true])
    }

    /// Asks it to end, and expects the orderly end: exit status 0, nothing on the way.
    func stop() async throws {
        child.signal(SIGTERM)
        let outcome = try await child.wait(seconds: 30)
        guard outcome.ending == .exited(0) else {
            throw Trouble("\(outcome.command)\nended with \(outcome.ending)\n\(outcome.err)")
        }
    }

    /// Ends it as a power cut would.
    func crash() async throws {
        child.signal(SIGKILL)
        try await child.wait()
    }
}

extension Scratch {
    /// The words that start a daemon on these settings.
    func daemonWords(_ setting: Daemon.Setting, name: String = "d") -> [String] {
        let access = setting.writable ? [] : ["read-only=on"]
        let file = ["driver=file", "node-name=file0", "filename=\(setting.image)"] + access + setting.fileOptions
        let format = ["driver=\(setting.format)", "node-name=disk", "file=file0"] + access + setting.formatOptions
        return Subject.daemon + Subject.allowing(path) + [
            "--chardev", "socket,id=m,path=\(self.file("\(name).qmp")),server=on,wait=off",
            "--monitor", "chardev=m",
            "--blockdev", file.joined(separator: ","), "--blockdev", format.joined(separator: ","),
            "--nbd-server", "addr.type=unix,addr.path=\(self.file("\(name).nbd"))",
            "--export", "type=nbd,id=e0,node-name=disk,name=disk,writable=\(setting.writable ? "on" : "off")",
        ] + setting.words
    }

    /// Starts a daemon and waits until it serves.
    func daemon(_ setting: Daemon.Setting, name: String = "d") async throws -> Daemon {
        try await daemon(words: daemonWords(setting, name: name), name: name)
    }

    func daemon(words: [String], name: String = "d") async throws -> Daemon {
        let daemon = Daemon(child: try start(words), scratch: self, name: name)
        let up = try await eventually(within: 30) { self.exists(daemon.socket) || !daemon.child.isRunning ? true : nil }
        guard up == true, daemon.child.isRunning else {
            let outcome = try await daemon.child.wait(seconds: 5)
            throw Trouble("\(outcome.command)\ndid not come up: \(outcome.ending)\n\(outcome.err)")
        }
        // The export comes after the server on the command line: wait until the name is there.
        for _ in 0..<200 {
            let seen = try await run(["nbdinfo", "--size", daemon.uri()])
            if seen.status == 0 || !daemon.child.isRunning { break }
            try await Task.sleep(for: .milliseconds(25))
        }
        return daemon
    }
}
