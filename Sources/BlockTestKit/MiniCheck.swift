public import Bytes

/// A second opinion on a qcow2 image: its own reading of the specification over a plain array of bytes, sharing nothing
/// with the `Qcow2` room. It counts what is referenced, compares it with the refcounts, and checks flags, alignment,
/// reserved bits and overlaps.
public struct MiniCheck {
    /// What is wrong: anything here may lose data.
    public private(set) var errors: [String] = []
    /// Clusters whose refcount is too high.
    public private(set) var leaks = 0
    public private(set) var isDirty = false
    public private(set) var isCorrupt = false
    /// Subclusters of the guest's disk that hold data, by number: their file offsets, in the file for data where there is
    /// one. Where entries are plain, each cluster is one subcluster.
    public private(set) var mapped: [UInt64: UInt64] = [:]
    /// Guest subclusters that are marked as zeros.
    public private(set) var zeros: Set<UInt64> = []
    /// Compressed guest clusters, by the number of their first subcluster: where in the file.
    public private(set) var compressed: [UInt64: ByteRange] = [:]
    /// Whether guest data lies in a file of its own.
    public private(set) var hasDataFile = false
    /// What it is called, where the image says so.
    public private(set) var dataFileName: String?
    /// Whether that shall read as the disk by itself.
    public private(set) var isDataRaw = false
    public private(set) var size: UInt64 = 0
    public private(set) var clusterSize: UInt64 = 0
    /// Subclusters of a cluster: 32, or 1 where entries are plain.
    public private(set) var subclusters: UInt64 = 1
    public var subclusterSize: UInt64 { clusterSize / subclusters }

    /// Where the tables in force begin, by the header.
    public private(set) var refcountTable: UInt64 = 0
    public private(set) var activeL1: UInt64 = 0
    public private(set) var snapshotTable: UInt64 = 0

    /// A bitmap that the image keeps.
    public struct Bitmap: Equatable, Sendable {
        public var name: String
        /// Somebody keeps it, or did not close the image: what is stored is out of date.
        public var isInUse: Bool
        /// It records changes.
        public var isAuto: Bool
        public var granularityBits: UInt64
        /// The granules whose bits are set.
        public var dirty: Set<UInt64>
    }
    public private(set) var bitmaps: [Bitmap] = []

    /// What a cluster is there for.
    public enum Use: String, Sendable { case header, refcountTable, refcountBlock, l1, l2, snapshots, bitmaps, data }

    private let image: SparseBytes
    private var version: UInt64 = 0
    public private(set) var refcountBits: UInt64 = 0
    /// References counted, by cluster number.
    public private(set) var references: [UInt64: UInt64] = [:]
    /// What a cluster of metadata is; nothing else may be there.
    public private(set) var owners: [UInt64: Use] = [:]
    /// As the image states them, by cluster number; zeros left out.
    public private(set) var refcounts: [UInt64: UInt64] = [:]
    private var copied: [(cluster: UInt64, flag: Bool, what: String)] = []

    /// Whether nothing at all is wrong.
    public var isClean: Bool { errors.isEmpty && leaks == 0 }

    public init(_ image: SparseBytes) {
        self.image = image
        run()
    }

    private mutating func run() {
        guard image.length >= 72, number(at: 0, bytes: 4) == 0x5146_49FB else { return complain("no qcow2 magic") }
        version = number(at: 4, bytes: 4)
        let clusterBits = number(at: 20, bytes: 4)
        guard version == 2 || version == 3, (9...21).contains(clusterBits) else {
            return complain("version \(version), cluster bits \(clusterBits)")
        }
        clusterSize = 1 << clusterBits
        size = number(at: 24, bytes: 8)
        refcountBits = 16
        if version == 3 {
            let incompatible = number(at: 72, bytes: 8)
            isDirty = incompatible & 1 != 0
            isCorrupt = incompatible & 2 != 0
            if incompatible & 0b1_0000 != 0 { subclusters = 32 }
            hasDataFile = incompatible & 0b100 != 0
            isDataRaw = hasDataFile && number(at: 88, bytes: 8) & 0b10 != 0
            if incompatible & ~0b1_1111 != 0 { complain("unknown incompatible features \(incompatible)") }
            let order = number(at: 96, bytes: 4)
            guard order <= 6 else { return complain("refcount order \(order)") }
            refcountBits = 1 << order
        }
        // Dictionaries that grow are most of the work; a hostile length is no reason for large ones.
        let clusters = Int(min(image.length / clusterSize, 4096))
        references.reserveCapacity(clusters)
        refcounts.reserveCapacity(clusters)
        use(.header, at: 0, bytes: clusterSize)
        walkRefcounts()
        let l1Entries = number(at: 36, bytes: 4)
        if l1Entries * l2Entries * clusterSize < size { complain("the L1 table is too short for the disk") }
        activeL1 = number(at: 40, bytes: 8)
        walkL1(at: activeL1, entries: l1Entries, isActive: true)
        walkSnapshots()
        walkExtensions()
        compare()
    }

    private mutating func complain(_ what: String) {
        if errors.count < 50 { errors.append(what) }
    }

    private func number(at offset: UInt64, bytes count: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<UInt64(count) { value = value << 8 | UInt64(image.byte(at: offset &+ index)) }
        return value
    }

    private static let zeros = [UInt8](repeating: 0, count: 4096)

    /// The pieces of at most 4 KiB of a range that are not all zero, with their offsets inside the range.
    private func pieces(at offset: UInt64, count: UInt64) -> [(offset: UInt64, bytes: [UInt8])] {
        var result: [(UInt64, [UInt8])] = []
        var done: UInt64 = 0
        while done < count {
            let part = ByteRange(at: offset + done, count: min(4096, count - done))
            if image.holds(part) {
                let bytes = image.bytes(part)
                if !bytes.rawBytes.isSame(as: Self.zeros.rawBytes.extracting(0..<bytes.count)) {
                    result.append((done, bytes))
                }
            }
            done += part.count
        }
        return result
    }

    /// The entries of a table of 8-byte numbers that are not zero, with their indices.
    private func entries(at offset: UInt64, count: UInt64) -> [(UInt64, UInt64)] {
        var result: [(UInt64, UInt64)] = []
        for piece in pieces(at: offset, count: count * 8) {
            for index in 0..<piece.bytes.count / 8 {
                let entry = piece.bytes.rawBytes.bigEndian(UInt64.self, at: index * 8)
                if entry != 0 { result.append((piece.offset / 8 + UInt64(index), entry)) }
            }
        }
        return result
    }

    private var l2Entries: UInt64 { clusterSize / (subclusters == 1 ? 8 : 16) }

    /// The entries of an L2 table that are not empty: index, descriptor, bitmap.
    private func l2Entries(at table: UInt64) -> [(UInt64, UInt64, UInt64)] {
        let words = entries(at: table, count: clusterSize / 8)
        if subclusters == 1 { return words.map { ($0.0, $0.1, 0) } }
        var result: [(UInt64, UInt64, UInt64)] = []
        for (index, word) in words {
            if result.last?.0 != index / 2 { result.append((index / 2, 0, 0)) }
            if index % 2 == 0 { result[result.count - 1].1 = word } else { result[result.count - 1].2 = word }
        }
        return result
    }

    /// Metadata occupies these clusters, alone.
    private mutating func use(_ use: Use, at offset: UInt64, bytes: UInt64, shared: Bool = false) {
        guard bytes > 0 else { return }
        guard offset % clusterSize == 0 else { return complain("\(use) at \(offset) is not aligned") }
        guard offset < image.length else { return complain("\(use) at \(offset) lies past the file's end") }
        for cluster in offset / clusterSize...(offset + bytes - 1) / clusterSize {
            references[cluster, default: 0] += 1
            let (old, isNew) = (owners[cluster], owners[cluster] == nil)
            if !isNew, !(shared && old == use) {
                complain("cluster \(cluster) is \(use) and \(old.map(\.rawValue) ?? "")")
            }
            owners[cluster] = use
        }
    }

    private mutating func walkRefcounts() {
        let (table, clusters) = (number(at: 48, bytes: 8), number(at: 56, bytes: 4))
        refcountTable = table
        guard clusters > 0, table != 0, table % clusterSize == 0 else { return complain("no refcount table") }
        use(.refcountTable, at: table, bytes: clusters * clusterSize)
        let perBlock = clusterSize * 8 / refcountBits
        for (index, entry) in entries(at: table, count: clusters * clusterSize / 8) {
            if entry & 0x1FF != 0 { complain("refcount table entry \(index) has reserved bits set: \(entry)") }
            let block = entry & ~0x1FF
            use(.refcountBlock, at: block, bytes: clusterSize)
            guard block % clusterSize == 0 else { continue }
            for piece in pieces(at: block, count: clusterSize) {
                readCounts(piece.bytes, first: index * perBlock + piece.offset * 8 / refcountBits)
            }
        }
    }

    private mutating func readCounts(_ bytes: [UInt8], first: UInt64) {
        let perWord = 64 / Int(refcountBits)
        // Most of a block is zeros.
        for word in 0..<bytes.count / 8 where bytes.rawBytes.littleEndian(UInt64.self, at: word * 8) != 0 {
            readCounts(bytes, word * perWord..<(word + 1) * perWord, first: first)
        }
    }

    private mutating func readCounts(_ bytes: [UInt8], _ indices: Range<Int>, first: UInt64) {
        for index in indices {
            var value: UInt64 = 0
            if refcountBits >= 8 {
                let width = Int(refcountBits / 8)
                for byte in bytes[index * width..<(index + 1) * width] { value = value << 8 | UInt64(byte) }
            } else {
                let perByte = Int(8 / refcountBits)
                let shift = UInt64(index % perByte) * refcountBits
                value = UInt64(bytes[index / perByte]) >> shift & ((1 << refcountBits) - 1)
            }
            if value != 0 { refcounts[first + UInt64(index)] = value }
        }
    }

    private mutating func walkL1(at offset: UInt64, entries count: UInt64, isActive: Bool) {
        guard count > 0 else { return }
        guard count <= 4 << 20 else { return complain("an L1 table of \(count) entries") }
        use(.l1, at: offset, bytes: count * 8)
        for (index, entry) in entries(at: offset, count: count) {
            if entry & 0x7F00_0000_0000_01FF != 0 { complain("L1 entry \(index) has reserved bits set: \(entry)") }
            let table = entry & 0x00FF_FFFF_FFFF_FE00
            guard table != 0 else { continue }
            use(.l2, at: table, bytes: clusterSize, shared: true)
            guard table % clusterSize == 0 else { continue }
            if isActive { copied.append((table / clusterSize, entry >> 63 == 1, "L1 entry \(index)")) }
            walkL2(at: table, first: index * l2Entries, isActive: isActive)
        }
    }

    private mutating func walkL2(at table: UInt64, first: UInt64, isActive: Bool) {
        for (index, entry, bitmap) in l2Entries(at: table) {
            let guest = first + index
            if entry >> 62 & 1 == 1 {
                walkCompressed(entry)
                if hasDataFile { complain("cluster \(guest) is compressed beside a data file") }
                if bitmap != 0 { complain("compressed cluster \(guest) has subclusters") }
                if isActive { compressed[guest * subclusters] = Self.range(compressed: entry, clusterSize) }
                continue
            }
            let reserved: UInt64 = version == 3 && subclusters == 1 ? 0x3F00_0000_0000_01FE : 0x3F00_0000_0000_01FF
            if entry & reserved != 0 { complain("L2 entry of cluster \(guest) has reserved bits set: \(entry)") }
            let place = entry & 0x00FF_FFFF_FFFF_FE00
            if bitmap & bitmap >> 32 & 0xFFFF_FFFF != 0 {
                complain("cluster \(guest) has subclusters of data and zeros")
            }
            if place == 0, !(hasDataFile && entry >> 63 == 1), bitmap & 0xFFFF_FFFF != 0 {
                complain("cluster \(guest) has data without a place")
            }
            if isActive { note(guest, place, entry, bitmap) }
            if hasDataFile {
                if place != (entry >> 63 == 1 ? guest * clusterSize : 0) {
                    complain("cluster \(guest) lies at \(place) of the data file, COPIED is \(entry >> 63 == 1)")
                }
                continue
            }
            guard place != 0 else {
                if entry >> 63 == 1 { complain("cluster \(guest) is marked COPIED without a place") }
                continue
            }
            guard place % clusterSize == 0 else {
                complain("cluster \(guest) lies at \(place), not aligned")
                continue
            }
            let cluster = place / clusterSize
            references[cluster, default: 0] += 1
            if isActive { copied.append((cluster, entry >> 63 == 1, "L2 entry of cluster \(guest)")) }
        }
    }

    /// Notes what an entry says of its cluster's subclusters.
    private mutating func note(_ guest: UInt64, _ place: UInt64, _ entry: UInt64, _ bitmap: UInt64) {
        for index in 0..<subclusters {
            let isPlain = subclusters == 1
            let isZero = isPlain ? version == 3 && entry & 1 == 1 : bitmap >> (32 + index) & 1 == 1
            let isPlaced = place != 0 || hasDataFile && entry >> 63 == 1
            let isData = isPlain ? isPlaced && !isZero : bitmap >> index & 1 == 1
            if isZero { zeros.insert(guest * subclusters + index) }
            if isData, place % clusterSize == 0 { mapped[guest * subclusters + index] = place + index * subclusterSize }
        }
    }

    private mutating func walkCompressed(_ entry: UInt64) {
        if entry >> 63 == 1 { complain("a compressed cluster is marked COPIED") }
        for cluster in Self.clusters(compressed: entry, clusterSize) { references[cluster, default: 0] += 1 }
    }

    /// From the first byte of a compressed cluster to the end of its last sector.
    private static func range(compressed entry: UInt64, _ clusterSize: UInt64) -> ByteRange {
        let shift = 62 - (UInt64(clusterSize.trailingZeroBitCount) - 8)
        let place = entry & ((1 << shift) - 1)
        let sectors = (entry & ~(1 << 62) & ~(1 << 63)) >> shift + 1
        return ByteRange(from: place, to: (place & ~511) + sectors * 512)
    }

    /// The clusters of the file that hold a compressed cluster.
    static func clusters(compressed entry: UInt64, _ clusterSize: UInt64) -> ClosedRange<UInt64> {
        let range = range(compressed: entry, clusterSize)
        return range.start / clusterSize...(range.end - 1) / clusterSize
    }

    private mutating func walkSnapshots() {
        let (count, start) = (number(at: 60, bytes: 4), number(at: 64, bytes: 8))
        snapshotTable = start
        guard count > 0 else { return }
        var offset = start
        for _ in 0..<min(count, 65536) {
            let (l1, entries) = (number(at: offset, bytes: 8), number(at: offset + 8, bytes: 4))
            let names = number(at: offset + 12, bytes: 2) + number(at: offset + 14, bytes: 2)
            let extra = number(at: offset + 36, bytes: 4)
            walkL1(at: l1, entries: entries, isActive: false)
            if version == 3, extra < 16 { complain("a snapshot does not tell the size of its disk") }
            if extra >= 16, entries * l2Entries * clusterSize < number(at: offset + 48, bytes: 8) {
                complain("a snapshot's L1 table is too short for its disk")
            }
            offset = (offset + 40 + extra + names + 7) & ~7
        }
        use(.snapshots, at: start, bytes: offset - start)
    }

    /// The header's extensions: the name of the file for data; the bitmaps' directory, and each one's table and data.
    private mutating func walkExtensions() {
        let hasBitmaps = version == 3 && number(at: 88, bytes: 8) & 1 == 1
        guard hasBitmaps || hasDataFile else { return }
        var offset = number(at: 100, bytes: 4)
        while offset + 8 <= clusterSize {
            let (type, length) = (number(at: offset, bytes: 4), number(at: offset + 4, bytes: 4))
            if type == 0 { return }
            if type == 0x4441_5441, hasDataFile, offset + 8 + length <= clusterSize {
                let name = image.bytes(ByteRange(at: offset + 8, count: length))
                dataFileName = String(decoding: name, as: UTF8.self)
            }
            if type == 0x2385_2875, hasBitmaps {
                let bytes = number(at: offset + 16, bytes: 8)
                walkBitmapDirectory(at: number(at: offset + 24, bytes: 8), bytes: bytes)
            }
            offset += 8 + (length + 7) & ~7
        }
    }

    private mutating func walkBitmapDirectory(at start: UInt64, bytes: UInt64) {
        use(.bitmaps, at: start, bytes: bytes)
        var offset = start
        while offset + 24 <= start + bytes {
            let (table, count) = (number(at: offset, bytes: 8), number(at: offset + 8, bytes: 4))
            use(.bitmaps, at: table, bytes: count * 8)
            let (flags, nameCount) = (number(at: offset + 12, bytes: 4), number(at: offset + 18, bytes: 2))
            if flags & ~3 != 0 { complain("a bitmap has reserved flags set: \(flags)") }
            let name = image.bytes(ByteRange(at: offset + 24, count: nameCount))
            var bitmap = Bitmap(
                name: String(decoding: name, as: UTF8.self), isInUse: flags & 1 != 0, isAuto: flags & 2 != 0,
                granularityBits: number(at: offset + 17, bytes: 1), dirty: [])
            for (index, entry) in entries(at: table, count: count) { walkBits(entry, index, &bitmap) }
            bitmaps.append(bitmap)
            offset = (offset + 24 + nameCount + number(at: offset + 20, bytes: 4) + 7) & ~7
        }
        if offset != start + bytes { complain("the bitmap directory does not end with an entry") }
    }

    /// One cluster of a bitmap's bits.
    private mutating func walkBits(_ entry: UInt64, _ index: UInt64, _ bitmap: inout Bitmap) {
        let place = entry & 0x00FF_FFFF_FFFF_FE00
        let first = index * clusterSize * 8
        guard bitmap.granularityBits < 32 else { return complain("granularity 2^\(bitmap.granularityBits)") }
        let rest = size & ((1 << bitmap.granularityBits) - 1)
        let end = size >> bitmap.granularityBits + (rest == 0 ? 0 : 1)
        // No test keeps so many; a hostile image may claim them.
        guard bitmap.dirty.count < 1 << 20 else { return }
        if entry & ~0x00FF_FFFF_FFFF_FE01 != 0 || place != 0 && entry & 1 != 0 {
            complain("bitmap '\(bitmap.name)' has a table entry \(entry)")
        }
        guard place != 0 else {
            if first < end { bitmap.dirty.formUnion(first..<min(end, first + clusterSize * 8)) }
            return
        }
        use(.bitmaps, at: place, bytes: clusterSize)
        for piece in pieces(at: place, count: clusterSize) {
            for (position, byte) in piece.bytes.enumerated() where byte != 0 {
                for bit in 0..<8 as Range<UInt64> where byte >> UInt8(bit) & 1 == 1 {
                    bitmap.dirty.insert(first + (piece.offset + UInt64(position)) * 8 + bit)
                }
            }
        }
    }

    private mutating func compare() {
        for (cluster, count) in references.sorted(by: { $0.key < $1.key }) {
            let refcount = refcounts[cluster] ?? 0
            if refcount < count { complain("cluster \(cluster): refcount \(refcount), references \(count)") }
            if owners[cluster] == .l2 || owners[cluster] == nil { continue }
            if count > 1 { complain("cluster \(cluster), \(owners[cluster] ?? .data), has \(count) references") }
        }
        for (cluster, refcount) in refcounts where refcount > references[cluster] ?? 0 { leaks += 1 }
        for place in mapped.values where !hasDataFile && owners[place / clusterSize] != nil {
            complain("cluster \(place / clusterSize) is data and \(owners[place / clusterSize] ?? .data)")
        }
        for (cluster, flag, what) in copied where flag != ((refcounts[cluster] ?? 0) == 1) {
            complain("\(what): COPIED is \(flag), the refcount of cluster \(cluster) \(refcounts[cluster] ?? 0)")
        }
    }

    /// What the active tables keep for each guest subcluster, wherever in the file it lies: its bytes; those of a compressed
    /// cluster for its first one; none for zeros.
    public var stored: [UInt64: [UInt8]] {
        var result: [UInt64: [UInt8]] = [:]
        for guest in zeros { result[guest] = [] }
        for (guest, place) in mapped { result[guest] = image.bytes(ByteRange(at: place, count: subclusterSize)) }
        for (guest, range) in compressed { result[guest] = image.bytes(range) }
        return result
    }

    /// The active disk's bytes as the tables tell them; what is unallocated comes from `backing`, data from `data` where
    /// that lies apart, and of a compressed cluster `decode` makes one of this many bytes (without it they are left out).
    public func contents(
        over backing: SparseBytes? = nil, data: SparseBytes? = nil, decode: (([UInt8], Int) -> [UInt8])? = nil
    ) -> SparseBytes {
        var result = SparseBytes(length: size)
        if let backing {
            let count = min(size, backing.length)
            var offset: UInt64 = 0
            while offset < count {
                let run = backing.run(ByteRange(from: offset, to: count))
                if run.allocated {
                    result.write(backing.bytes(ByteRange(at: offset, count: run.count)).rawBytes, at: offset)
                }
                offset += run.count
            }
        }
        let unit = subclusterSize
        for guest in zeros { result.zero(ByteRange(at: guest * unit, count: unit)) }
        for (guest, place) in mapped where guest * unit < size {
            let count = min(unit, size - guest * unit)
            result.write((data ?? image).bytes(ByteRange(at: place, count: count)).rawBytes, at: guest * unit)
        }
        for (guest, range) in compressed where guest * unit < size {
            guard let bytes = decode?(image.bytes(range), Int(clusterSize)) else { continue }
            let count = min(UInt64(bytes.count), size - guest * unit)
            result.write(Array(bytes.prefix(Int(count))).rawBytes, at: guest * unit)
        }
        return result
    }
}
