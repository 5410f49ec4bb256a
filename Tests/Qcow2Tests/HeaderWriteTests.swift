import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

/// Two changes of the header that are under way together.
@Suite struct HeaderWriteTests {
    @Test("the corrupt bit and a longer refcount table both reach the header")
    func corruptWhileGrowing() throws {
        let start = try FailureTests.create(clusterSize: 512, refcountBits: 64)
        var grown = 0
        for seed in 0..<60 as Range<UInt64> {
            let bench = try Bench(start, seed: seed)
            let image = bench.image
            let old = image.header.refcountTableOffset
            try growAndCorrupt(bench, seed)
            let onDisk = try Header.decode(bench.disk.durable.bytes(ByteRange(at: 0, count: 512)).rawBytes)
            #expect(onDisk.incompatible.contains(.corrupt), "seed \(seed)")
            #expect(onDisk.refcountTableOffset == image.header.refcountTableOffset, "seed \(seed)")
            #expect(bench.fences.isEmpty)
            if image.header.refcountTableOffset != old { grown += 1 }
        }
        #expect(grown > 20, "the table grows before, beside and after the damage is found")
    }

    /// Makes the refcount table longer, and finds damage at some moment of that.
    private func growAndCorrupt(_ bench: Bench, _ seed: UInt64) throws {
        let image = bench.image
        var random = SeededRandom(seed: seed)
        let delay = random.below(3_000_000 as UInt64)
        var running = 2
        try bench.context.complete { [context = bench.context] in
            context.spawn {
                try? await image.resolve(Need.growRefcountTable.at(image.refcountTable.count))
                running -= 1
            }
            context.spawn {
                await suspend { (suspension: Suspension<Void>) in
                    context.schedule(afterNs: delay) { suspension.resume() }
                }
                // A place in the header's own cluster.
                try? await image.resolve(Need.reportOverlap.at(0 as UInt64))
                running -= 1
            }
            while running > 0 { await context.sleep(ms: 1) }
        }
    }
}
