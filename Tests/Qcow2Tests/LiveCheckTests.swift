import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

/// A check of an image beside those who write to it.
@Suite struct LiveCheckTests {
    /// Runs `writers` tasks of random requests and a check beside them; answers what the check said, and how many requests
    /// ended before it did.
    private func run(
        _ contents: SparseBytes, seed: UInt64, requests: Int
    ) throws -> (result: Qcow2Check.Result?, messages: [String], endedBefore: Int, image: SparseBytes) {
        let context = SimulatedContext(seed: seed)
        let disk = SimDisk(context, contents: contents, .init(seed: seed))
        var messages: [String] = []
        var (ended, endedBefore) = (0, 0)
        let result = try context.complete { () -> Qcow2Check.Result? in
            let file = BlockIO(context: context, driver: .storage(disk))
            let image = try await Qcow2Image.open(
                file: file, options: Options(l2CacheSize: 8192, refcountCacheSize: 16384))
            let io = BlockIO(context: context, driver: .format(image), file: file)
            let done = WaitQueue()
            for writer in 0..<4 as Range<UInt64> {
                context.spawn {
                    var random = SeededRandom(seed: seed * 4 + writer)
                    for _ in 0..<requests {
                        let start = random.below(io.length - 8192)
                        if random.chance(60) {
                            try? await io.write(random.bytes(1 + random.below(8000)), at: start)
                        } else if random.chance(70) {
                            try? await io.discard(ByteRange(at: start, count: 8192))
                        } else {
                            try? await io.flush()
                        }
                        ended += 1
                    }
                    done.wakeAll()
                }
            }
            let pace = Pace(context)
            let result = try await image.check(
                pace: pace, flush: { () async throws(BlockError) in try await io.flush() }
            ) {
                messages.append($0)
            }
            endedBefore = ended
            while ended < requests * 4 { await done.wait() }
            await io.pause()
            try await io.finish()
            try await image.close()
            return result
        }
        return (result, messages, endedBefore, disk.contents)
    }

    @Test(
        "beside writers it finds nothing wrong in a sound image, and they go on meanwhile",
        arguments: 0..<12 as Range<UInt64>)
    func sound(seed: UInt64) throws {
        let image = try CheckTests.image { $0.preallocation = seed % 2 == 0 ? .off : .metadata }
        let found = try run(image, seed: seed, requests: 60)
        #expect(found.messages == [])
        #expect(found.result.map { $0.corruptions + $0.leaks + $0.checkErrors } ?? 0 == 0)
        #expect(found.endedBefore > 0)
        #expect(MiniCheck(found.image).errors == [])
    }

    @Test("of very many leaks each is counted, and the first ten thousand are named")
    func manyLeaks() throws {
        var image = try CheckTests.image { $0.refcountBits = 1 }
        image.resize(to: 16_000 * 4096)
        image.write([UInt8](repeating: 0xFF, count: 1500).rawBytes, at: CheckTests.block + 500)
        let found = try run(image, seed: 7, requests: 1)
        #expect(found.result?.leaks == 12_000 && found.messages.count == 10_000)
    }

    @Test("what is damaged and nobody touches it finds beside writers too")
    func damaged() throws {
        var image = try CheckTests.image()
        // Clusters behind all others: one counted twice that nothing uses.
        image.resize(to: 300 * 4096)
        CheckTests.patch(&image, at: CheckTests.block + 290 * 2, 2, bytes: 2)
        let found = try run(image, seed: 5, requests: 20)
        #expect(found.messages == ["Leaked cluster 290 refcount=2 reference=0"])
        #expect(found.result?.leaks == 1 && found.result?.corruptions == 0)
    }
}
