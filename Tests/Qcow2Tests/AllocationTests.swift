import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

@Suite(.enabled(if: QemuTool.isInstalled, "qemu-img is not installed"))
struct AllocationTests {
    @Test(
        "a place is found behind more full refcount blocks than memory holds, freed clusters in front of them",
        arguments: [4096, 36 << 10])
    func fullBlocks(holds: UInt64) throws {
        let folder = try Folder()
        // A block counts 64 clusters: the few that are held end inside of one, the many go beyond its end.
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=512,refcount_bits=64")
        var options = Options()
        options.refcountCacheSize = 4 * 512
        // Places are taken here without data that goes there, which the audit would mind.
        let bench = try Bench(folder.read("t.qcow2"), options: options, isDamaged: true)
        let used: UInt64 = 512 << 10
        try bench.write([UInt8](repeating: 1, count: Int(used)), at: 0)
        try bench.reopen(options)
        let image = bench.image
        // The first clusters are on their way back; the next ones are held, for that they are free is not durable.
        try bench.discard(0, 4096)
        try bench.flush()
        let free = try bench.context.complete { try await image.commit() }
        try bench.discard(40 << 10, holds)
        try bench.flush()
        // The cache is full of blocks that must stay.
        for cluster in 0..<300 as Range<UInt64> { _ = try place(used + cluster * 512, bench) }
        image.release(free)
        for cluster in 300..<320 as Range<UInt64> {
            #expect(try place(used + cluster * 512, bench) < 32, "cluster \(cluster)")
        }
        try bench.close()
    }

    private func place(_ offset: UInt64, _ bench: Bench) throws -> Int {
        let guest = ByteRange(at: offset, count: 512)
        return try bench.context.complete { [image = bench.image] in try await Self.place(guest, in: image) }
    }

    /// Allocates, and answers what had to be made or loaded for it; gives up after a while.
    private static func place(_ guest: ByteRange, in image: Qcow2Image) async throws -> Int {
        for loads in 0..<100 {
            switch image.allocate(guest) {
            case .ticket(let ticket):
                image.publish(ticket)
                return loads
            case .needs(let need): try await image.resolve(need)
            case .busy: Issue.record("\(guest) is somebody else's")
            case .failed(let error): throw error
            }
        }
        return 100
    }
}
