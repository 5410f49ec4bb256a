import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

/// What a check costs, whatever the image claims.
@Suite struct CheckCostTests {
    /// 4 KiB clusters: an L1 table of `entries` that all name the L2 table in cluster 4, whose entries all name
    /// cluster 5.
    static func repetitive(entries: UInt64) throws -> SparseBytes {
        var image = try CheckTests.image { $0.lazyRefcounts = true }
        let l1 = image.length
        CheckTests.patch(&image, at: 72, 1)
        CheckTests.patch(&image, at: 36, entries, bytes: 4)
        CheckTests.patch(&image, at: 40, l1)
        for index in 0..<entries { CheckTests.patch(&image, at: l1 + index * 8, CheckTests.l2) }
        for index in 0..<512 as Range<UInt64> { CheckTests.patch(&image, at: CheckTests.l2 + index * 8, 5 * 4096) }
        return image
    }

    @Test("however many L1 entries name one L2 table, it is read once and counts as often as it is named")
    func multiplicity() throws {
        let storage = MemoryStorage(try Self.repetitive(entries: 4096))
        let counting = FaultyStorage(storage)
        var messages: [String] = []
        let result = try SimulatedContext().complete {
            try await Qcow2Check.check(counting) { messages.append($0) }
        }
        // Tables of the file in one walk and in the look at the flags: not one read for each of 4096 entries.
        #expect(counting.seen[.read] ?? 0 < 64)
        #expect(messages.contains("ERROR cluster 4 refcount=1 reference=4096"))
        #expect(messages.contains("ERROR cluster 5 refcount=1 reference=\(4096 * 512)"))
        #expect(result.allocatedClusters == 512)
    }

    @Test("snapshots that share one L1 table cost no more than one, and all of their references count")
    func snapshots() throws {
        var image = try Self.repetitive(entries: 64)
        let table = (image.length + 4095) & ~4095
        CheckTests.patch(&image, at: 60, 1000, bytes: 4)
        CheckTests.patch(&image, at: 64, table)
        let l1 = image.bytes(ByteRange(at: 40, count: 8)).reduce(0) { $0 << 8 | UInt64($1) }
        for index in 0..<1000 as Range<UInt64> {
            CheckTests.patch(&image, at: table + index * 40, l1)
            CheckTests.patch(&image, at: table + index * 40 + 8, 64, bytes: 4)
        }
        image.resize(to: table + 40 * 1000)
        let counting = FaultyStorage(MemoryStorage(image))
        var messages: [String] = []
        _ = try SimulatedContext().complete { try await Qcow2Check.check(counting) { messages.append($0) } }
        #expect(counting.seen[.read] ?? 0 < 1100, "one for each entry of the snapshot table")
        #expect(messages.contains("ERROR cluster 4 refcount=1 reference=\(64 * 1001)"))
    }

    @Test("a repair rests every so often, and others of its context run meanwhile")
    func rests() throws {
        let memory = MemoryStorage(try Self.repetitive(entries: 16384))
        let context = SimulatedContext(order: .fifo)
        var (turns, isDone) = (0, false)
        context.spawn {
            while !isDone {
                turns += 1
                await context.sleep(ms: 0)
            }
        }
        try context.complete {
            _ = try? await Qcow2Image.open(file: memory, options: Options(), pace: Pace(context))
            isDone = true
        }
        #expect(turns >= 3)
    }

    @Test("a repair that nobody wants any more ends at its next rest, and the image stays dirty")
    func givenUp() throws {
        let image = try Self.repetitive(entries: 16384)
        let memory = MemoryStorage(image)
        let context = SimulatedContext(order: .fifo)
        var rests = 0
        let pace = Pace(context) {
            rests += 1
            return false
        }
        #expect(throws: OpenError.self) {
            try context.complete { _ = try await Qcow2Image.open(file: memory, options: Options(), pace: pace) }
        }
        #expect(rests == 1)
        #expect(memory.contents == image)
    }
}
