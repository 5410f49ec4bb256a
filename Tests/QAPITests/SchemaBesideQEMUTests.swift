import Foundation
import JSON
import QMPTypes
import Testing

/// The schema beside that of the installed qemu-storage-daemon 7.2.
@Suite("The schema, beside QEMU's")
struct SchemaBesideQEMUTests {
    private static let program = "/usr/bin/qemu-storage-daemon"
    static let isInstalled = FileManager.default.isExecutableFile(atPath: program)

    /// What differs on purpose.
    private static let expected: Set<String> = [
        // The betterment of this daemon.
        "blockdev-snapshot-sync.force: ours alone",
        // Encryption and external data files are not built.
        "blockdev-add/qcow2.encrypt: not ours", "blockdev-add/qcow2.data-file: not ours",
        "query-block.inserted.image.format-specific/qcow2.data.encrypt: not ours",
        // Bitmaps are not built.
        "block-export-add/nbd.bitmaps: not ours",
        // A check of QEMU's own tests, unstable by its flag.
        "blockdev-add/file.x-check-cache-dropped: not ours",
        // Of the fault injection only what its tests need.
        "blockdev-add/blkdebug.config: not ours", "blockdev-add/blkdebug.max-discard: not ours",
        "blockdev-add/blkdebug.max-transfer: not ours", "blockdev-add/blkdebug.max-write-zero: not ours",
        "blockdev-add/blkdebug.opt-discard: not ours", "blockdev-add/blkdebug.opt-write-zero: not ours",
        "blockdev-add/blkdebug.take-child-perms: not ours", "blockdev-add/blkdebug.unshare-child-perms: not ours",
    ]

    private func schemaOfQEMU() throws -> JSONValue {
        let process = Process()
        let (input, output) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: Self.program)
        process.arguments = ["--chardev", "stdio,id=c", "--monitor", "chardev=c"]
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
        .enabled(if: isInstalled, "skipped: qemu-storage-daemon is not installed"))
    func shapes() async throws {
        let ours = try await RefusingCommands().call("query-qmp-schema", JSONObject())
        let differences = SchemaDifference(ours: ours, theirs: try schemaOfQEMU()).differences
        #expect(differences.subtracting(Self.expected).sorted() == [])
        #expect(Self.expected.subtracting(differences).sorted() == [], "no longer different")
    }
}
