import Block
import BlockTestKit
import Testing

@testable import Qcow2

@Suite struct PartsTests {
    @Test("refcounts of every width are stored and read, and leave their neighbours alone", arguments: 0...6)
    func widths(_ order: Int) {
        let block = RefcountBlock(index: 0, offset: 0, bytes: Array(repeating: 0, count: 512), order: UInt32(order))
        #expect(block.count == 4096 >> order)
        let most: UInt64 = order == 6 ? .max : (1 << (1 << UInt64(order))) - 1
        for position in stride(from: 0, to: block.count, by: 3) { block[position] = most }
        for position in 0..<block.count { #expect(block[position] == (position % 3 == 0 ? most : 0)) }
        #expect(block.firstFree(from: 0) == 1)
        #expect(block.firstFree(from: 3) == 4)
    }

    @Test("narrow refcounts count from the low bit, wide ones are big-endian")
    func layout() {
        var bytes: [UInt8] = Array(repeating: 0, count: 16)
        RefcountBlock.store(1, in: &bytes, 0, 0)
        RefcountBlock.store(1, in: &bytes, 9, 0)
        #expect(bytes[0] == 1 && bytes[1] == 2)
        bytes = Array(repeating: 0, count: 16)
        RefcountBlock.store(3, in: &bytes, 1, 1)
        #expect(bytes[0] == 0x0c)
        bytes = Array(repeating: 0, count: 16)
        RefcountBlock.store(0x0102_0304, in: &bytes, 1, 5)
        #expect(bytes[4...7] == [1, 2, 3, 4])
    }

    @Test("a cluster set answers as a set does")
    func clusterSet() {
        var random = SeededRandom(seed: 5)
        var set = ClusterSet()
        var model = Set<UInt64>()
        for _ in 0..<20000 {
            let value = random.below(700 as UInt64) &* 0x1_0000_0001
            if random.chance(50) {
                #expect(set.insert(value) == model.insert(value).inserted)
            } else {
                #expect(set.remove(value) == (model.remove(value) != nil))
            }
            #expect(set.contains(value) == model.contains(value))
        }
        #expect(set.count == model.count)
    }

    @Test("a generation has ended when every request that began in it or before has")
    func generations() {
        var generations = Generations()
        let first = generations.begin()
        let closed = generations.close()
        let second = generations.begin()
        #expect(!generations.hasEnded(closed))
        generations.end(first)
        #expect(generations.hasEnded(closed))
        let later = generations.close()
        #expect(!generations.hasEnded(later))
        generations.end(second)
        #expect(generations.hasEnded(later))
    }

    @Test("a generation without requests has ended at once")
    func emptyGeneration() {
        var generations = Generations()
        let closed = generations.close()
        #expect(generations.hasEnded(closed))
    }

    private final class Entry: CachedTable {
        let index: Int
        var slot = 0
        var wasUsed = false
        var isPinned: Bool
        init(_ index: Int, pinned: Bool = false) {
            self.index = index
            isPinned = pinned
        }
    }

    @Test("a cache keeps to its capacity, keeps what is pinned, and prefers what was used")
    func cache() {
        var cache = TableCache<Entry>(indices: 0, capacity: 4)
        cache.insert(Entry(7000, pinned: true))
        for index in 0..<100 {
            cache.insert(Entry(index))
            cache.find(0)?.wasUsed = true
            #expect(cache.count <= 4)
        }
        #expect(cache.find(7000) != nil)
        #expect(cache.find(0) != nil)
        #expect(cache.find(99) != nil)
        #expect(cache.find(50) == nil)
        for index in 200..<206 { cache.insert(Entry(index, pinned: true)) }
        #expect((200..<206).allSatisfy { cache.find($0) != nil })
    }

    @Test("a compressed descriptor splits where the cluster size says")
    func compressedDescriptor() {
        for bits in 9...21 as ClosedRange<UInt32> {
            let rules = EntryRules(version: 3, geometry: Geometry(clusterBits: bits, refcountOrder: 4))
            let shift = UInt64(62 - (bits - 8))
            let entry = L2Entry(descriptor: L2Entry.compressedFlag | 1 << shift | 0x10300)
            #expect(rules.read(entry) == .compressed(offset: 0x10300, count: 2 * 512 - 0x100))
        }
    }

    @Test("R11: reserved bits, unaligned offsets and offsets that no refcount can count are invalid")
    func invalidEntries() {
        let geometry = Geometry(clusterBits: 16, refcountOrder: 4)
        let rules = EntryRules(version: 3, geometry: geometry)
        func entry(_ descriptor: UInt64) -> L2Entry { L2Entry(descriptor: descriptor | L2Entry.copied) }
        for descriptor in [0x50200, 0x50002, 1 << 57 | 0x50000, 0x00ff_ffff_ffff_0000, 0x50201] as [UInt64] {
            #expect(rules.read(entry(descriptor)) == .invalid)
        }
        #expect(rules.read(entry(0x50001)) == .zero(place: 0x50000))
        #expect(EntryRules(version: 2, geometry: geometry).read(entry(0x50001)) == .invalid)
    }

    @Test("cache sizes are worked out and refused as QEMU does")
    func cacheSizes() throws {
        let geometry = Geometry(clusterBits: 16, refcountOrder: 4)
        func sizes(_ options: Options) throws -> [UInt64] {
            let sizes = try options.cacheSizes(size: 1 << 40, geometry: geometry)
            return [sizes.l2, sizes.refcount]
        }
        #expect(try sizes(Options()) == [32 << 20, 256 << 10])
        #expect(try sizes(Options(cacheSize: 1 << 20)) == [768 << 10, 256 << 10])
        #expect(try sizes(Options(l2CacheSize: 1 << 20, cacheSize: 3 << 20)) == [1 << 20, 2 << 20])
        let refusals: [(Options, String)] = [
            (
                Options(l2CacheSize: 1, refcountCacheSize: 1, cacheSize: 1),
                "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time"
            ),
            (Options(l2CacheSize: 2, cacheSize: 1), "l2-cache-size may not exceed cache-size"),
            (Options(refcountCacheSize: 2, cacheSize: 1), "refcount-cache-size may not exceed cache-size"),
            (
                Options(l2CacheEntrySize: 1000),
                "L2 cache entry size must be a power of two between 512 and the cluster size (65536)"
            ),
            (Options(refcountCacheSize: .max), "Refcount cache size too big"),
        ]
        for (options, message) in refusals { #expect(throws: OpenError(message)) { try sizes(options) } }
    }
}
