import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

/// Where new clusters go in a file with holes.
@Suite struct PlacementTests {
    private static let cluster: UInt64 = 4096

    /// A disk of `count` clusters in a row in the file, those of them free whose numbers `isHole` names.
    private func bench(
        _ count: UInt64, _ cluster: UInt64 = cluster, limits: StorageLimits? = nil, isHole: (UInt64) -> Bool
    ) throws -> Bench {
        var contents = try FailureTests.create(size: 64 << 20, clusterSize: cluster)
        if let limits, !limits.growable {
            var device = SparseBytes(length: (contents.length / cluster + 2 + count) * cluster)
            device.write(contents.bytes(ByteRange(at: 0, count: contents.length)).rawBytes, at: 0)
            contents = device
        }
        let bench = try Bench(contents, limits: limits)
        try bench.write(bytes(1, count * cluster), at: 0)
        for number in 0..<count where isHole(number) { try bench.discard(number * cluster, cluster) }
        try bench.reopen()
        return bench
    }

    /// The place of the guest's cluster, counted from that of its first.
    private func places(_ check: MiniCheck, _ numbers: Range<UInt64>, from first: UInt64 = 0) throws -> [Int] {
        let start = try #require(check.mapped[first])
        return try numbers.map { (Int(try #require(check.mapped[$0])) - Int(start)) / Int(Self.cluster) }
    }

    @Test("what is written at once lies in a row, behind holes that are too small, and those serve smaller requests")
    func row() throws {
        // Holes of one, of two and of three clusters.
        let bench = try bench(16) { [2, 4, 5, 8, 9, 10].contains($0) }
        try bench.write(bytes(2, 2 * Self.cluster), at: 20 * Self.cluster)
        try bench.write(bytes(2, 4 * Self.cluster), at: 24 * Self.cluster)
        try bench.reopen()
        try bench.write(bytes(2, Self.cluster), at: 30 * Self.cluster)
        try bench.write(bytes(2, 2 * Self.cluster), at: 31 * Self.cluster)
        let check = try bench.closedClean()
        #expect(try places(check, 20..<22) == [4, 5])
        #expect(try places(check, 24..<28) == [16, 17, 18, 19])
        #expect(try places(check, 30..<33) == [2, 8, 9])
    }

    @Test("a hole that grows behind the search is found again, with what was free in front of it")
    func grown() throws {
        let bench = try bench(16) { $0 == 4 }
        try bench.write(bytes(2, 2 * Self.cluster), at: 20 * Self.cluster)
        try bench.discard(5 * Self.cluster, Self.cluster)
        for _ in 0..<3 { try bench.flush() }
        try bench.write(bytes(2, 2 * Self.cluster), at: 24 * Self.cluster)
        let check = try bench.closedClean()
        #expect(try places(check, 20..<22) == [16, 17])
        #expect(try places(check, 24..<26) == [4, 5])
    }

    @Test(
        "R88: a file is no longer than 1 MiB and a 32nd more for holes that were passed over", arguments: [false, true])
    func bound(reopens: Bool) throws {
        // Every other cluster of 32 MiB is a hole, and more are free than may be passed over.
        let cluster: UInt64 = 65536
        let bench = try bench(512, cluster) { $0 % 2 == 1 }
        for number in 0..<128 as Range<UInt64> {
            try bench.write(bytes(2, 2 * cluster), at: (512 + 2 * number) * cluster)
            if reopens, number % 16 == 0 { try bench.reopen() }
        }
        let check = try bench.closedClean()
        let end = try #require(check.references.keys.max()) + 1
        let holes = end - UInt64(check.references.count)
        #expect(holes <= FreePlaces.allowance(before: end, bench.image.geometry) + 1, "\(holes) of \(end) are free")
    }

    @Test("a device that has no more room in a row gives what it has, to the last cluster")
    func device() throws {
        let limits = StorageLimits(zeroesFast: true, discards: true, growable: false)
        let bench = try bench(64, limits: limits) { $0 % 2 == 1 }
        try bench.write(bytes(2, 32 * Self.cluster), at: 128 * Self.cluster)
        #expect(throws: BlockError.noSpace) { try bench.write(bytes(3, Self.cluster), at: 256 * Self.cluster) }
        #expect(try bench.read(128 * Self.cluster, Int(32 * Self.cluster)) == bytes(2, 32 * Self.cluster))
        _ = try bench.closedClean()
    }

    @Test("on a full host what was passed over is room")
    func fullHost() throws {
        let bench = try bench(64) { $0 % 2 == 1 }
        bench.disk.capacity = bench.disk.length
        try bench.write(bytes(2, 32 * Self.cluster), at: 128 * Self.cluster)
        #expect(throws: BlockError.noSpace) { try bench.write(bytes(3, Self.cluster), at: 256 * Self.cluster) }
        #expect(try bench.read(128 * Self.cluster, Int(32 * Self.cluster)) == bytes(2, 32 * Self.cluster))
        _ = try bench.closedClean()
    }

    @Test("a row that no hole is long enough for lies behind all others, and one of them takes what is there")
    func tables() throws {
        let bench = try bench(16) { [4, 8, 9].contains($0) }
        // An L1 table of two clusters, for a disk of more than 1 GiB.
        try bench.resize(2 << 30)
        let check = try bench.closedClean()
        let start = try #require(check.mapped[0])
        #expect(check.activeL1 == start + 8 * Self.cluster)
    }
}
