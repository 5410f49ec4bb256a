import Foundation
import JSON
import QMPTypes
import Testing

/// The schema beside those of the installed qemu-storage-daemon 7.2 and of QEMU's whole machine, which has devices.
@Suite("The schema, beside QEMU's")
struct SchemaBesideQEMUTests {
    struct Peer: Sendable, CustomTestStringConvertible {
        let program: String
        let words: [String]
        let expected: Set<String>

        var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: program) }
        var testDescription: String { program }
    }

    static let peers = [
        Peer(
            program: "/usr/bin/qemu-storage-daemon", words: ["--chardev", "stdio,id=c", "--monitor", "chardev=c"],
            expected: expected),
        Peer(
            program: "/usr/bin/qemu-system-x86_64",
            words: ["-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"],
            expected: expected.union(ofDevices)),
    ]

    /// What differs on purpose in what only the machine has.
    private static let ofDevices: Set<String> = [
        // A device has a name here, and takes what a backend needs.
        "device_add.id: not as optional", "device_add.drive: ours alone", "device_add.share-rw: ours alone",
        "device_add.serial: ours alone", "device_add: features [], not [\"json-cli\", \"json-cli-hotplug\"]",
        // A machine state is no affair of a daemon.
        "human-monitor-command: features [], not [\"savevm-monitor-nodes\"]",
    ]

    /// What differs on purpose.
    private static let expected: Set<String> = [
        // The betterment of this daemon.
        "blockdev-snapshot-sync.force: ours alone",
        // A job that checks an image beside its writers.
        "BLOCK_JOB_CANCELLED.type.check: ours alone",
        // Encryption is not built.
        "blockdev-add/qcow2.encrypt: not ours",
        "query-block.inserted.image.format-specific/qcow2.data.encrypt: not ours",
        // Targets of iSCSI, which show several devices and no node.
        "block-export-add.type.iscsi: ours alone", "block-export-add/iscsi: ours alone",
        "block-export-add.node-name: not as optional",
        // Secrets that are themselves encrypted are not built.
        "object-add/secret.keyid: not ours", "object-add/secret.iv: not ours",
        // The main loop, too, looks for work before it sleeps; how many threads make blocking calls is not for users to say.
        "object-add/main-loop.poll-max-ns: ours alone", "object-add/main-loop.aio-max-batch: not ours",
        "object-add/main-loop.thread-pool-min: not ours", "object-add/main-loop.thread-pool-max: not ours",
        "object-add/iothread.aio-max-batch: not ours", "object-add/iothread.thread-pool-min: not ours",
        "object-add/iothread.thread-pool-max: not ours",
        // A check of QEMU's own tests, unstable by its flag.
        "blockdev-add/file.x-check-cache-dropped: not ours",
        // Encryption is not built.
        "blockdev-create.options/qcow2.encrypt: not ours",
    ]

    private func schema(of peer: Peer) throws -> JSONValue {
        let process = Process()
        let (input, output) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: peer.program)
        process.arguments = peer.words
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        let requests = #"{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema"}{"execute":"quit"}"#
        input.fileHandleForWriting.write(Data(requests.utf8))
        let answers = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        var limits = JSONLimits()
        limits.tokens = 1 << 20
        var stream = JSONStream(limits: limits)
        let messages = try stream.feed(answers).map { try $0.get() }
        return try #require(messages.compactMap { $0["return"] }.first { $0.array != nil })
    }

    @Test(
        "what is listed has QEMU's members, types and features, but for what differs on purpose",
        .enabled(if: peers.allSatisfy(\.isInstalled), "skipped: QEMU is not installed"), arguments: peers)
    func shapes(_ peer: Peer) async throws {
        let ours = try await RefusingCommands().call("query-qmp-schema", JSONObject())
        let differences = SchemaDifference(ours: ours, theirs: try schema(of: peer)).differences
        #expect(differences.subtracting(peer.expected).sorted() == [])
        #expect(peer.expected.subtracting(differences).sorted() == [], "no longer different")
    }
}
