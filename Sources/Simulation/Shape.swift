public import Block
public import BlockTestKit
public import Bytes

/// What kind of chain a program runs on.
public struct Shape: Sendable, CustomStringConvertible {
    public enum Backing: String, Sendable { case none, shorter, equal, longer }
    /// Where guest data lies: with the tables, in a file of its own, in one that reads as the disk by itself.
    public enum DataFile: String, Sendable { case none, plain, raw }
    /// What stands before the top image, for the guest's requests.
    public enum Filter: String, Sendable { case none, compress, copyOnRead = "copy-on-read" }

    public var version = 3
    public var clusterBits: UInt64
    /// Whether clusters have 32 subclusters each; 16 KiB and more, version 3.
    public var extendedL2 = false
    /// Whether most writes of whole clusters are compressed.
    public var compresses = false
    public var refcountBits = 16
    public var size: UInt64
    public var backing = Backing.none
    public var dataFile = DataFile.none
    public var filter = Filter.none
    /// How much of the disk has its place from the start.
    public var preallocation = Preallocation.off
    public var lazyRefcounts = false
    /// Caches of two tables, so that loading and writing back is the rule.
    public var tinyCaches = false
    /// Requests under way at once.
    public var depth = 1
    public var detectZeroes = BlockIO.DetectZeroes.off
    /// Clusters by which the top image may grow before its disk is full.
    public var room: UInt64?
    /// Clusters that the image calls used from the start (`StartImage.crowded`).
    public var crowd: UInt64?

    public var clusterSize: UInt64 { 1 << clusterBits }
    /// Bytes of what is allocated at once.
    public var subclusterSize: UInt64 { extendedL2 ? clusterSize / 32 : clusterSize }

    public var description: String {
        "v\(version) cluster \(clusterSize)\(extendedL2 ? " extended" : "")\(compresses ? " compressed" : "") "
            + "refcount \(refcountBits) size \(size) backing \(backing) data \(dataFile) "
            + "lazy \(lazyRefcounts) tiny \(tinyCaches) depth \(depth) detect \(detectZeroes)"
            + (preallocation == .off ? "" : " preallocated \(preallocation)") + (room.map { " room \($0)" } ?? "")
            + (crowd.map { " crowd \($0)" } ?? "") + (filter == .none ? "" : " behind \(filter.rawValue)")
    }

    /// The shape of a seed: seeds in a row go through every cluster size and refcount width.
    public init(seed: UInt64, _ random: inout SeededRandom) {
        clusterBits = 9 + seed % 13
        refcountBits = 1 << (seed / 13 % 7)
        version = refcountBits == 16 && random.chance(40) ? 2 : 3
        let cluster = 1 << clusterBits as UInt64
        // Small tables make disks of several L2 tables cheap.
        let most = min(max(cluster * 40, cluster * cluster / 8 * 6), cluster >= 32768 ? 24 << 20 : 6 << 20)
        size = max(512, random.below(most) & ~511)
        if random.chance(5), clusterBits >= 12, clusterBits <= 16 { size = (cluster * cluster / 8) + 4096 }
        backing = random.pick([.none, .none, .shorter, .equal, .longer])
        lazyRefcounts = version == 3 && random.chance(15)
        tinyCaches = random.chance(50)
        depth = random.pick([1, 2, 4, 8, 16])
        detectZeroes = random.pick([.off, .off, .on, .unmap])
        room = random.chance(25) ? random.below(40) : nil
    }

    /// The same with subclusters: a disk of up to 40 clusters of at least 16 KiB.
    public mutating func divide() {
        (version, extendedL2) = (3, true)
        clusterBits = max(14, clusterBits)
        size = min(size, clusterSize * 40)
    }
}

extension Shape {
    /// What every change of the disk has to do with.
    var verbs: [Verb] {
        var verbs: [Verb] = []
        if extendedL2 { verbs.append(.extendedL2) }
        if dataFile != .none { verbs.append(dataFile == .raw ? .rawDataFile : .dataFile) }
        if filter == .compress { verbs += [.compressFilter, .compress] }
        return verbs
    }

    /// What a write stores: random bytes, and where clusters are compressed as many others that compress well, so that each
    /// sector still differs from all others.
    public func bytes(of fill: UInt64, count: Int) -> [UInt8] {
        var source = SeededRandom(seed: fill)
        var bytes = source.bytes(count)
        guard compresses else { return bytes }
        let rest = UInt8(truncatingIfNeeded: fill)
        // A quarter of random bytes leaves half a cluster, a half of them more than that.
        let random = fill & 4 == 0 ? 128 : 256
        for index in bytes.indices where index % 512 >= random { bytes[index] = rest }
        return bytes
    }

    /// How it is written to a disk of this length.
    public func flags(of fill: UInt64, _ range: ByteRange, fua: Bool, diskLength: UInt64) -> WriteFlags {
        var flags: WriteFlags = fua ? .fua : []
        let isWhole = range.start % clusterSize == 0 && (range.end % clusterSize == 0 || range.end == diskLength)
        if compresses, isWhole, fill & 3 != 0 { flags.insert(.compressed) }
        return flags
    }
}
