import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

/// Notes the longest read that was asked for.
private final class LongestRead: Storage {
    private let below: MemoryStorage
    private(set) var longest = 0

    init(_ below: MemoryStorage) { self.below = below }

    var contents: SparseBytes { below.contents }

    var length: UInt64 { below.length }
    var limits: StorageLimits { below.limits }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        longest = max(longest, buffer.byteCount)
        try await below.read(at: offset, into: &buffer)
    }
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        try await below.write(at: offset, from: bytes, flags: flags)
    }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await below.zero(range, flags: flags)
    }
    func discard(_ range: ByteRange) async throws(BlockError) { try await below.discard(range) }
    func flush() async throws(BlockError) {}
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await below.status(of: range) }
    func resize(to length: UInt64) async throws(BlockError) { try await below.resize(to: length) }
}

/// What a full repair does to tables that cannot be true, and what it says of them beforehand.
@Suite struct MendTests {
    typealias Base = CheckTests

    private struct Healed {
        let result: Qcow2Check.Result
        let diagnosis: Diagnosis
        let messages: [String]
        let image: SparseBytes
    }

    private static func heal(_ image: SparseBytes, repair: Qcow2Check.Repair = .all) throws -> Healed {
        let memory = MemoryStorage(image)
        var diagnosis = Diagnosis()
        var messages: [String] = []
        let result = try SimulatedContext().complete {
            try await Qcow2Check.check(memory, repair: repair, diagnosis: { diagnosis = $0 }) { messages.append($0) }
        }
        return Healed(result: result, diagnosis: diagnosis, messages: messages, image: memory.contents)
    }

    /// The image with a backing file's name, which creation does not give to one that is allocated.
    private static func backed(_ image: SparseBytes) -> SparseBytes {
        var image = image
        Base.patch(&image, at: 8, 1024)
        Base.patch(&image, at: 16, 5, bytes: 4)
        image.write(Array("below".utf8).rawBytes, at: 1024)
        return image
    }

    private static func expectClean(_ healed: Healed) {
        #expect(MiniCheck(healed.image).isClean, "\(MiniCheck(healed.image).errors)")
        #expect(!MiniCheck(healed.image).isCorrupt)
        #expect(healed.result.corruptions == 0 && healed.result.leaks == 0)
    }

    private static func finding(_ start: UInt64, _ count: UInt64, _ fate: Diagnosis.Fate) -> Diagnosis.Finding {
        Diagnosis.Finding(disk: .active, range: ByteRange(at: start, count: count), fate: fate)
    }

    /// The guest's cluster as the mended tables tell it.
    private static func cluster(_ number: UInt64, of healed: Healed) -> [UInt8] {
        MiniCheck(healed.image).contents().bytes(ByteRange(at: number * 4096, count: 4096))
    }

    @Test(
        "data whose place is impossible reads as zeros, over a backing file too, and the report names its guest range")
    func lost() throws {
        var image = Self.backed(try Base.image())
        Base.patch(&image, at: Base.l2 + 3 * 8, Base.copied | 8 * 4096 + 512)
        Base.patch(&image, at: Base.l2 + 4 * 8, Base.copied | 1 << 40)
        let healed = try Self.heal(image)
        Self.expectClean(healed)
        #expect(healed.diagnosis.findings == [Self.finding(3 * 4096, 2 * 4096, .lost)])
        #expect(MiniCheck(healed.image).zeros.isSuperset(of: [3, 4]))
    }

    @Test(
        "a repair clears the autoclear features that it does not know, and a check leaves them",
        arguments: [Qcow2Check.Repair.none, .leaks, .refcounts, .all])
    func foreignFeatures(repair: Qcow2Check.Repair) throws {
        var image = try Base.image()
        Base.patch(&image, at: 88, 0xff << 32)
        let healed = try Self.heal(image, repair: repair)
        let left = healed.image.bytes(ByteRange(at: 88, count: 8))
        #expect(left == (repair == .none ? [0, 0, 0, 0xff, 0, 0, 0, 0] : [UInt8](repeating: 0, count: 8)))
    }

    @Test("in version 2 lost data over a backing file becomes a cluster of zeros, for all of it")
    func lostInVersion2() throws {
        var image = Self.backed(try Base.image { $0.version = .v2 })
        for entry in [3, 4, 9] as [UInt64] { Base.patch(&image, at: Base.l2 + entry * 8, Base.copied | 1 << 40) }
        let healed = try Self.heal(image)
        Self.expectClean(healed)
        let mapped = MiniCheck(healed.image).mapped
        #expect(mapped[3] == mapped[4] && mapped[4] == mapped[9])
        #expect(Self.cluster(3, of: healed) == [UInt8](repeating: 0, count: 4096))
    }

    @Test("data in the place of metadata reads as before; the metadata moves away")
    func doubtful() throws {
        var image = try Base.image()
        image.write([UInt8](repeating: 0x5A, count: 4096).rawBytes, at: 5 * 4096)
        // Guest cluster 2 lies in the L1 table, clusters 7 and 8 in the L2 table.
        for (entry, place) in [(2, Base.l1), (7, Base.l2), (8, Base.l2)] as [(UInt64, UInt64)] {
            Base.patch(&image, at: Base.l2 + entry * 8, place | Base.copied)
        }
        let before = image
        let healed = try Self.heal(image)
        Self.expectClean(healed)
        #expect(healed.messages.contains("ERROR cluster 3 of the active L1 table is used for something else too"))
        #expect(healed.messages.contains("ERROR cluster 4 of the L2 table is used for something else too"))
        #expect(
            healed.diagnosis.findings == [
                // The table's place has another use, so all that it maps is in doubt.
                Self.finding(0, 1 << 20, .doubtful), Self.finding(2 * 4096, 4096, .doubtful),
                Self.finding(7 * 4096, 2 * 4096, .doubtful),
            ])
        #expect(Self.cluster(2, of: healed) == before.bytes(ByteRange(at: Base.l1, count: 4096)))
        #expect(Self.cluster(7, of: healed) == before.bytes(ByteRange(at: Base.l2, count: 4096)))
        #expect(Self.cluster(8, of: healed) == Self.cluster(7, of: healed))
        #expect(Self.cluster(0, of: healed) == [UInt8](repeating: 0x5A, count: 4096))
    }

    @Test("an L1 entry that names no table is given up, and the snapshot that still has one is named")
    func unmapped() throws {
        let sound = try Base.image()
        var image = try #require(SnapshotForge.adding(to: sound))
        Base.patch(&image, at: Base.l1, Base.copied | Base.l2 + 512)
        let healed = try Self.heal(image)
        Self.expectClean(healed)
        var expected = Self.finding(0, 1 << 20, .unmapped)
        expected.heldBy = [.snapshot(id: "1", name: "s")]
        // What the entry names now runs into the snapshot's table, which is in doubt.
        #expect(healed.diagnosis.findings.first == expected)
        #expect(SnapshotForge.kept(in: healed.image) == SnapshotForge.kept(in: image))
        #expect(MiniCheck(healed.image).mapped.isEmpty)
    }

    @Test("reserved bits are cleared, and what could not be read for them can be again")
    func regained() throws {
        var image = try Base.image()
        Base.patch(&image, at: Base.l2 + 8, Base.copied | 1 << 58 | 6 * 4096)
        let healed = try Self.heal(image)
        Self.expectClean(healed)
        #expect(healed.diagnosis.findings == [Self.finding(4096, 4096, .regained)])
        #expect(MiniCheck(healed.image).mapped[1] == 6 * 4096)
    }

    @Test("where entries are extended bit 0 of them is reserved: it is found, and cleared")
    func reservedBit() throws {
        var image = try Base.image {
            $0.clusterSize = 16384
            $0.extendedL2 = true
        }
        let place = 4 * 16384 + 16 as UInt64
        let entry = image.bytes(ByteRange(at: place, count: 8)).byteSpan.bigEndian(UInt64.self, at: 0)
        Base.patch(&image, at: place, entry | 1)
        let healed = try Self.heal(image)
        #expect(healed.messages.first == "ERROR found l2 entry with reserved bits set: \(String(entry | 1, radix: 16))")
        Self.expectClean(healed)
        #expect(healed.result.corruptionsFixed == 1 && healed.diagnosis.findings.isEmpty)
    }

    @Test("of a snapshot's extra data that claims gigabytes no more is read than is kept")
    func extraData() throws {
        var image = try #require(SnapshotForge.adding(to: try Base.image { $0.clusterSize = 2 << 20 }))
        let kept = SnapshotForge.kept(in: image)
        let table = image.bytes(ByteRange(at: 64, count: 8)).byteSpan.bigEndian(UInt64.self, at: 0)
        Base.patch(&image, at: table + 36, 0xFFFF_0000, bytes: 4)
        image.resize(to: 5 << 30)
        let reads = LongestRead(MemoryStorage(image))
        let result = try SimulatedContext().complete { try await Qcow2Check.check(reads, repair: .all) { _ in } }
        #expect(result.corruptions == 0 && result.checkErrors == 0)
        #expect(reads.longest <= 4 << 20)
        #expect(SnapshotForge.kept(in: reads.contents) == kept)
    }

    @Test("what would be copied in millions of places is refused before it takes the memory for them")
    func copies() {
        var copies = EntryMender.Copies()
        for number in 0..<EntryMender.Copies.limit as Range<Int> {
            _ = copies.place(of: ByteRange(at: UInt64(number), count: 512), clusterSize: 512)
        }
        #expect(!copies.isFull)
        _ = copies.place(of: ByteRange(at: 1 << 40, count: 512), clusterSize: 512)
        #expect(copies.isFull && copies.order.count == EntryMender.Copies.limit)
    }

    @Test("a snapshot without an L1 table is removed from the table, the others stay")
    func snapshotTable() throws {
        var image = try #require(SnapshotForge.adding(to: try Base.image()))
        // A second entry behind the first: its L1 table would begin in the middle of a cluster.
        let table = image.bytes(ByteRange(at: 64, count: 8)).reduce(0) { $0 << 8 | UInt64($1) }
        let entry = image.bytes(ByteRange(at: table, count: 64))
        image.write(entry.rawBytes, at: table + 64)
        Base.patch(&image, at: table + 64, 512)
        image.write([UInt8(ascii: "2")].rawBytes, at: table + 64 + 56)
        Base.patch(&image, at: 60, 2, bytes: 4)
        let healed = try Self.heal(image)
        Self.expectClean(healed)
        #expect(healed.diagnosis.removedSnapshots == [.snapshot(id: "2", name: "s")])
        #expect(healed.image.bytes(ByteRange(at: 60, count: 4)) == [0, 0, 0, 1])
        #expect(SnapshotForge.kept(in: healed.image) == SnapshotForge.kept(in: image))
    }

    @Test("refcounts that are too narrow for what is referenced become wider")
    func width() throws {
        var image = try Base.image { $0.refcountBits = 1 }
        for entry in 0..<5 as Range<UInt64> { Base.patch(&image, at: Base.l2 + entry * 8, 5 * 4096) }
        let healed = try Self.heal(image)
        Self.expectClean(healed)
        #expect(healed.diagnosis.refcounts == .rebuilt(bits: 4))
        #expect(healed.image.bytes(ByteRange(at: 96, count: 4)) == [0, 0, 0, 2])
        #expect(MiniCheck(healed.image).refcounts[5] == 5)
    }

    @Test("an image whose active L1 table is not in the file is left as it is: somebody may still find the table")
    func hopeless() throws {
        var image = try Base.image()
        Base.patch(&image, at: 40, 1 << 40)
        let healed = try Self.heal(image)
        #expect(healed.diagnosis.isHopeless)
        #expect(healed.result.corruptions > 0)
        #expect(healed.image == image)
    }

    @Test("repairing leaks leaves damaged tables alone, and refuses where the refcounts' own structure is damaged")
    func leaksOnly() throws {
        var image = try Base.image()
        Base.patch(&image, at: Base.l2, Base.copied | 5 * 4096 + 512)
        let tables = image.bytes(ByteRange(at: Base.l1, count: 8192))
        let healed = try Self.heal(image, repair: .leaks)
        #expect(healed.result.corruptions > 0)
        #expect(healed.image.bytes(ByteRange(at: Base.l1, count: 8192)) == tables)
        Base.patch(&image, at: 4096, Base.block | 1)
        #expect(throws: OpenError.self) { try Self.heal(image, repair: .leaks) }
    }

    @Test("what a repair would have to copy is bounded: a small file with many snapshots in one place is left as it is")
    func growth() throws {
        var image = try Base.image { $0.preallocation = .off }
        // 3000 snapshots, each with the same L1 table of 1 MiB behind the file's other metadata.
        let (l1, table) = (UInt64(1 << 20), UInt64(4 << 20))
        image.resize(to: 5 << 20)
        for index in 0..<3000 as Range<UInt64> {
            Base.patch(&image, at: table + index * 40, l1)
            Base.patch(&image, at: table + index * 40 + 8, 1 << 17, bytes: 4)
        }
        Base.patch(&image, at: 60, 3000, bytes: 4)
        Base.patch(&image, at: 64, table)
        let healed = try Self.heal(image)
        #expect(healed.image.length < 80 << 20)
        #expect(healed.result.corruptions > 0)
    }
}

/// The counts of references.
@Suite struct ReferenceCountsTests {
    @Test(
        "counts of all sizes, in runs and one by one, equal those of a plain dictionary",
        arguments: 0..<20 as Range<UInt64>)
    func model(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var counts = ReferenceCounts(clusters: 3 * 4096 + 100, blockEntries: 64)
        var model: [UInt64: UInt64] = [:]
        var marks: [UInt64: Set<ReferenceCounts.Mark>] = [:]
        for _ in 0..<400 {
            let first = random.below(3 * 4096 + 90 as UInt64)
            let mark = random.pick([.none, .copied, .plain] as [ReferenceCounts.Mark])
            if random.chance(60) {
                let count = min(1 + random.below(random.chance(20) ? 9000 : 40 as UInt64), 3 * 4096 + 100 - first)
                counts.addRun(first, count: count, mark: mark)
                for cluster in first..<first + count {
                    model[cluster, default: 0] += 1
                    marks[cluster, default: []].insert(mark)
                }
            } else {
                let times = random.pick([1, 2, 3, 300, 70_000] as [UInt32])
                counts.add(first, times: times, mark: mark)
                model[first, default: 0] += UInt64(times)
                marks[first, default: []].insert(mark)
            }
        }
        for cluster in 0..<3 * 4096 + 100 as Range<UInt64> {
            #expect(counts.count(cluster) == model[cluster] ?? 0)
            for mark in [.copied, .plain] as [ReferenceCounts.Mark] {
                #expect(counts.isMarked(cluster, mark) == (marks[cluster]?.contains(mark) ?? false))
            }
        }
    }

    @Test("a window gives up its upper half where memory would not do, and the rest is counted later")
    func window() {
        var counts = ReferenceCounts(clusters: 1 << 30, blockEntries: 64, memoryLimit: 64 << 10)
        for page in 0..<1000 as Range<UInt64> { counts.add(page * 4096 + 7) }
        let end = counts.window.upperBound
        #expect(end < 1000 * 4096 && end % 4096 == 0)
        #expect(counts.count(7) == 1 && counts.count(end + 7) == 0)
        counts.begin(at: end, clusters: 1 << 30)
        counts.add(end + 7)
        #expect(counts.count(end + 7) == 1 && counts.count(7) == 0)
    }
}
