import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

@Suite(.enabled(if: QemuTool.isInstalled, "qemu-img is not installed"))
struct AllocationTests {
    @Test("a place is found behind more full refcount blocks than memory holds, freed clusters in front of them")
    func fullBlocks() throws {
        let folder = try Folder()
        // A block counts 64 clusters.
        try folder.image("t.qcow2", size: "1M", options: "cluster_size=512,refcount_bits=64")
        var options = Options()
        options.refcountCacheSize = 4 * 512
        let bench = try Bench(folder.read("t.qcow2"), options: options)
        let used: UInt64 = 512 << 10
        try bench.write([UInt8](repeating: 1, count: Int(used)), at: 0)
        try bench.reopen(options)
        // These are free once the second flush has ended, those are held until one more has.
        try bench.discard(0, 4096)
        try bench.flush()
        try bench.flush()
        try bench.discard(4096, 4096)
        try bench.flush()
        for cluster in 0..<16 as Range<UInt64> {
            let guest = ByteRange(at: used + cluster * 512, count: 512)
            let loads = try bench.context.complete { [image = bench.image] in
                try await Self.place(guest, in: image)
            }
            #expect(loads < 32, "cluster \(cluster)")
        }
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
