import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

/// How much of its file an image takes.
@Suite struct SpaceTests {
    @Test(
        "R88: after 10,000 random changes the file takes what is live, 5 % and 1 MiB more, and was never longer than a full disk's",
        arguments: [4096, 65536] as [UInt64])
    func churn(clusterSize: UInt64) throws {
        let context = SimulatedContext(seed: clusterSize)
        let file = MemoryStorage(
            SparseBytes(), limits: StorageLimits(zeroesFast: true, discards: true, growable: true))
        var options = CreateOptions(size: 128 * clusterSize)
        options.clusterSize = clusterSize
        let io = try context.complete { [options] in
            try await Qcow2Create.create(on: file, options)
            let image = try await Qcow2Image.open(file: file, options: Options())
            return BlockIO(
                context: context, driver: .format(image), file: BlockIO(context: context, driver: .storage(file)))
        }
        var random = SeededRandom(seed: clusterSize)
        for round in 0..<10 {
            try context.complete {
                for step in 0..<1000 {
                    try await change(io, clusterSize, &random)
                    // What is freed between two flushes cannot be used again before the second.
                    if step % 4 == 3 { try await io.flush() }
                }
            }
            let check = MiniCheck(file.contents)
            #expect(check.isClean, "round \(round): \(check.errors)")
            let live = UInt64(check.references.count) * clusterSize
            #expect(file.contents.allocatedBytes <= allowed(live), "round \(round): \(live) bytes are live")
            #expect(file.length <= allowed(options.size + 8 * clusterSize), "round \(round)")
        }
    }

    private func allowed(_ live: UInt64) -> UInt64 { live + live / 20 + 1 << 20 }

    private func change(_ io: BlockIO, _ clusterSize: UInt64, _ random: inout SeededRandom) async throws {
        let start = random.below(io.length / 512) * 512
        let count = min((1 + random.below(3 * clusterSize / 512)) * 512, io.length - start)
        let range = ByteRange(at: start, count: count)
        switch random.below(6) {
        case 0: try await io.discard(range)
        case 1: try await io.zero(range, flags: .mayUnmap)
        case 2: try await io.zero(range, flags: [])
        default: try await io.write([UInt8](repeating: UInt8(1 + random.below(255)), count: Int(count)), at: start)
        }
    }
}
