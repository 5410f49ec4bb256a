import Block
import BlockTestKit
import Bytes
import Testing

/// Requests that are answered without a wait (`readNow`, `writeNow`), on walkers by themselves. That they agree with those
/// that wait is held for every kind of node by ConformanceTests.
@Suite("Requests in place")
struct InPlaceTests {
    /// Notes what dirty bitmaps would be told.
    private final class Tracker: ChangeTracker {
        var ranges: [ByteRange] = []
        func changed(_ range: ByteRange) { ranges.append(range) }
    }

    @Test("dirty bitmaps are told of a write in place as of any other")
    func tracked() {
        let context = SimulatedContext(seed: 1)
        let tracker = Tracker()
        let walker = BlockIO(
            context: context, driver: .storage(MemoryStorage(length: 1 << 20)), tracker: tracker)
        let bytes = [UInt8](repeating: 1, count: 512)
        let isDone = walker.writeNow(at: 4096, from: bytes.rawBytes)
        #expect(isDone)
        #expect(tracker.ranges == [ByteRange(at: 4096, count: 512)])
    }

    @Test("what would be refused, detected as zeros, or pass the end is left to the way that can tell")
    func refused() {
        let context = SimulatedContext(seed: 1)
        let bytes = [UInt8](repeating: 0, count: 512)
        func writes(_ options: BlockIO.Options, at offset: UInt64) -> Bool {
            let storage = MemoryStorage(length: 4096)
            let walker = BlockIO(context: context, driver: .storage(storage), options: options)
            return walker.writeNow(at: offset, from: bytes.rawBytes)
        }
        #expect(writes(.init(), at: 0))
        #expect(!writes(.init(isReadOnly: true), at: 0))
        #expect(!writes(.init(detectZeroes: .on), at: 0))
        #expect(!writes(.init(), at: 3600))
        #expect(!writes(.init(), at: .max))
    }

    @Test("a storage that asks for an alignment keeps its order: nothing is written beside it")
    func aligned() {
        let context = SimulatedContext(seed: 1)
        let limits = StorageLimits(requestAlignment: 512, zeroesFast: true)
        let storage = MemoryStorage(SparseBytes(length: 4096), limits: limits)
        let walker = BlockIO(context: context, driver: .storage(storage))
        let bytes = [UInt8](repeating: 1, count: 512)
        let isDone = walker.writeNow(at: 0, from: bytes.rawBytes)
        #expect(!isDone)
    }
}
