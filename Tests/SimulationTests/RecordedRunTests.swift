import BlockTestKit
import Bytes
import Simulation
import Testing

/// Writes that another engine made, as a log tells them.
@Suite struct RecordedRunTests {
    private static func littleEndian(_ values: [UInt64]) -> [UInt8] {
        values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) } }
    }

    private static func entry(_ first: UInt64, _ sectors: UInt64, flags: UInt64 = 0) throws(Violation) -> WriteLog.Entry
    {
        try WriteLog.Entry(littleEndian([first, sectors, flags, sectors * 512]), sectorSize: 512)
    }

    @Test("a log is read as the kernel and QEMU write it, and refused where it cannot be")
    func log() throws {
        var bytes = Self.littleEndian([0x6A_7366_7773_6872, 1, 3, 512]) + [UInt8](repeating: 0, count: 480)
        let superblock = try WriteLog.Superblock(bytes)
        #expect(superblock.count == 3)
        #expect(superblock.sectorSize == 512)
        let entry = try Self.entry(4, 2, flags: 3)
        #expect(entry.range == ByteRange(at: 2048, count: 1024))
        #expect(entry.isFlush && entry.isForced && !entry.isDiscard)
        #expect(entry.payload == 1024)
        #expect(try Self.entry(4, 2, flags: 4).payload == 0)

        #expect(throws: Violation.self) { try Self.entry(.max, 1) }
        #expect(throws: Violation.self) { try Self.entry(0, 1 << 40) }
        #expect(throws: Violation.self) { try WriteLog.Entry([0, 1], sectorSize: 512) }
        bytes[24] = 1
        #expect(throws: Violation.self) { try WriteLog.Superblock(bytes) }
        bytes[0] = 0
        #expect(throws: Violation.self) { try WriteLog.Superblock(bytes) }
    }

    /// Overwrites a sector in place and flushes; what the engine wrote for the flush is `atFlush`. Answers what is wrong.
    private static func violations(atFlush: [(WriteLog.Entry, [UInt8])]) throws -> Set<Violation.Kind> {
        let full = try #require(CrashTests.stored.first { $0.name == "full" })
        let place = try #require(MiniCheck(full.image ?? SparseBytes()).mapped[2])
        var kinds: Set<Violation.Kind> = []
        var random = SeededRandom(seed: 1)
        let run = RecordedRun(full) { point in
            point.forEachState(budget: 8, &random) { state in
                do throws(Violation) { try CrashJudge(full.shape).judge(state) } catch { kinds.insert(error.kind) }
            }
        }
        var source = SeededRandom(seed: 7)
        let bytes = source.bytes(512)
        try run.perform(.write(ByteRange(at: 2048, count: 512), fua: false, fill: 7)) { _ in
            [(try entry(place / 512, 1), bytes)]
        }
        try run.perform(.flush) { _ in atFlush }
        return kinds
    }

    @Test("an engine that flushes in time is found right, one that does not is found out")
    func flushes() throws {
        #expect(try Self.violations(atFlush: [(Self.entry(0, 0, flags: 1), [])]) == [])
        #expect(try Self.violations(atFlush: []) == [.lost])
    }
}
