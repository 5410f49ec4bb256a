import BlockTestKit
import Bytes

/// A small sound qcow2 image, laid out by hand after the specification, whose fields are then overwritten.
struct HostileCanvas: Sendable {
    /// What stands in which cluster.
    enum Place: UInt64, CaseIterable, Sendable {
        case header, refcountTable, refcountBlock, l1, l2, data, moreData, compressed, snapshotTable, snapshotL1
        case bitmapDirectory, bitmapTable, bitmapData
    }

    struct Style: Sendable {
        var version: UInt64 = 3
        var clusterBits: UInt64 = 12
        /// Whether the snapshot shares the active tables; otherwise its disk is empty.
        var isShared = false
        var hasBitmaps = false
        var isZstd = false
        /// Whether clusters have 32 subclusters each, the second cluster half of zeros.
        var extendedL2 = false
        var backing: String?
        var backingFormat: String?
        var dataFile: String?
        /// More extensions, in front of the others.
        var extensions: [(type: UInt64, data: [UInt8])] = []
    }

    private(set) var bytes = SparseBytes()
    let style: Style
    let cluster: UInt64
    /// Guest bytes of one L2 table; the disk has two of them.
    var coverage: UInt64 { cluster / entrySize * cluster }
    /// Bytes of an L2 entry.
    var entrySize: UInt64 { style.extendedL2 ? 16 : 8 }
    var size: UInt64 { 2 * coverage }
    /// Where the extensions begin.
    var extensions: UInt64 { style.version == 2 ? 72 : 112 }
    /// Where the backing file's name stands.
    var nameOffset: UInt64 { cluster / 2 }

    static let copied: UInt64 = 1 << 63
    static let compressedFlag: UInt64 = 1 << 62

    init(_ style: Style = Style()) {
        self.style = style
        cluster = 1 << style.clusterBits
        layHeader()
        layExtensions()
        layRefcounts()
        layTables()
        laySnapshot()
        if style.hasBitmaps { layBitmaps() }
        grow(to: (style.hasBitmaps ? 13 : 10) * cluster)
    }

    /// The default image with some changes.
    static func changed(_ style: Style = Style(), _ change: (inout HostileCanvas) -> Void) -> SparseBytes {
        var canvas = HostileCanvas(style)
        change(&canvas)
        return canvas.bytes
    }

    func at(_ place: Place) -> UInt64 { place.rawValue * cluster }

    mutating func set(_ value: UInt64, at offset: UInt64, width: Int = 8) {
        put((0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64((width - 1 - $0) * 8)) }, at: offset)
    }

    mutating func put(_ content: [UInt8], at offset: UInt64) { bytes.write(content.rawBytes, at: offset) }
    mutating func put(_ text: String, at offset: UInt64) { put(Array(text.utf8), at: offset) }
    mutating func grow(to length: UInt64) { bytes.resize(to: max(length, bytes.length)) }
    mutating func truncate(to length: UInt64) { bytes.resize(to: length) }

    /// A table of `count` equal entries.
    mutating func fill(_ entry: UInt64, count: UInt64, at offset: UInt64) {
        let one = (0..<8).map { UInt8(truncatingIfNeeded: entry >> UInt64((7 - $0) * 8)) }
        put([UInt8](repeatElement(one, count: Int(count)).joined()), at: offset)
    }

    /// The L2 entry of compressed data.
    func entry(compressedAt offset: UInt64, sectors: UInt64) -> UInt64 {
        Self.compressedFlag | (sectors - 1) << (62 - (style.clusterBits - 8)) | offset
    }

    /// Puts compressed data where that of guest cluster 2 stands, or behind all else where it is longer than a cluster,
    /// with as many sectors as it takes.
    mutating func setCompressed(_ data: [UInt8], sectors: UInt64? = nil) {
        let place = data.count <= cluster ? at(.compressed) : bytes.length
        put(data, at: place)
        let needed = (UInt64(data.count) + 511) / 512
        set(entry(compressedAt: place, sectors: sectors ?? max(needed, 1)), at: at(.l2) + 2 * entrySize)
    }

    /// Another refcount for a cluster.
    mutating func setRefcount(_ value: UInt64, of number: UInt64) {
        set(value, at: at(.refcountBlock) + number * 2, width: 2)
    }

    private mutating func layHeader() {
        set(0x5146_49FB, at: 0, width: 4)
        set(style.version, at: 4, width: 4)
        set(style.clusterBits, at: 20, width: 4)
        set(size, at: 24)
        set(2, at: 36, width: 4)
        set(at(.l1), at: 40)
        set(at(.refcountTable), at: 48)
        set(1, at: 56, width: 4)
        set(1, at: 60, width: 4)
        set(at(.snapshotTable), at: 64)
        guard style.version >= 3 else { return }
        set((style.dataFile == nil ? 0 : 4) | (style.isZstd ? 8 : 0) | (style.extendedL2 ? 16 : 0), at: 72)
        set(style.hasBitmaps ? 1 : 0, at: 88)
        set(4, at: 96, width: 4)
        set(112, at: 100, width: 4)
        set(style.isZstd ? 1 : 0, at: 104, width: 1)
    }

    private mutating func layExtensions() {
        var list = style.extensions
        if let format = style.backingFormat { list.append((0xE279_2ACA, Array(format.utf8))) }
        if let name = style.dataFile { list.append((0x4441_5441, Array(name.utf8))) }
        var offset = extensions
        for (type, data) in list {
            set(type, at: offset, width: 4)
            set(UInt64(data.count), at: offset + 4, width: 4)
            put(data, at: offset + 8)
            offset += 8 + UInt64(data.count + 7) / 8 * 8
        }
        if style.hasBitmaps {
            set(0x2385_2875, at: offset, width: 4)
            set(24, at: offset + 4, width: 4)
            set(1, at: offset + 8, width: 4)
            set(32, at: offset + 16)
            set(at(.bitmapDirectory), at: offset + 24)
        }
        if let name = style.backing {
            set(nameOffset, at: 8)
            set(UInt64(name.utf8.count), at: 16, width: 4)
            put(name, at: nameOffset)
        }
    }

    private mutating func layRefcounts() {
        set(at(.refcountBlock), at: at(.refcountTable))
        for place in Place.allCases {
            let isBitmap = place.rawValue >= Place.bitmapDirectory.rawValue
            let isShared = style.isShared && (Place.l2.rawValue...Place.compressed.rawValue).contains(place.rawValue)
            setRefcount(isShared ? 2 : isBitmap && !style.hasBitmaps ? 0 : 1, of: place.rawValue)
        }
    }

    private mutating func layTables() {
        let flag = style.isShared ? 0 : Self.copied
        set(at(.l2) | flag, at: at(.l1))
        set(at(.data) | flag, at: at(.l2))
        set(at(.moreData) | flag, at: at(.l2) + entrySize)
        if style.extendedL2 {
            set(0xFFFF_FFFF, at: at(.l2) + 8)
            set(0xFFFF_0000_0000_FFFF, at: at(.l2) + entrySize + 8)
        }
        setCompressed(style.isZstd ? Squeezed.zstd(Int(cluster)) : Squeezed.deflate(Int(cluster)))
        put([UInt8](repeating: 0x11, count: Int(min(cluster, 4096))), at: at(.data))
        put([UInt8](repeating: 0x22, count: Int(min(cluster, 4096))), at: at(.moreData))
    }

    private mutating func laySnapshot() {
        let entry = at(.snapshotTable)
        set(at(.snapshotL1), at: entry)
        set(2, at: entry + 8, width: 4)
        set(1, at: entry + 12, width: 2)
        set(1, at: entry + 14, width: 2)
        set(16, at: entry + 36, width: 4)
        set(size, at: entry + 48)
        put("1s", at: entry + 56)
        if style.isShared { set(at(.l2), at: at(.snapshotL1)) }
    }

    private mutating func layBitmaps() {
        let entry = at(.bitmapDirectory)
        set(at(.bitmapTable), at: entry)
        set(1, at: entry + 8, width: 4)
        set(1, at: entry + 16, width: 1)
        set(16, at: entry + 17, width: 1)
        set(1, at: entry + 18, width: 2)
        put("b", at: entry + 24)
        set(at(.bitmapData), at: at(.bitmapTable))
    }
}

/// Compressed runs of one byte, made by hand so that they can be as wrong as one likes.
enum Squeezed {
    /// Raw deflate of `count` times the letter A: a literal, repeats of 258, literals.
    static func deflate(_ count: Int, ends: Bool = true) -> [UInt8] {
        var bits = BitWriter()
        bits.add(0b011, 3)
        guard count > 0 else {
            bits.addCode(0, 7)
            return bits.bytes
        }
        bits.addCode(0x30 + 0x41, 8)
        for _ in 0..<(count - 1) / 258 {
            bits.addCode(0b1100_0101, 8)
            bits.addCode(0, 5)
        }
        for _ in 0..<(count - 1) % 258 { bits.addCode(0x30 + 0x41, 8) }
        if ends { bits.addCode(0, 7) }
        return bits.bytes
    }

    /// A zstd frame of `count` times the letter A: blocks of one repeated byte. `window`: the descriptor byte.
    static func zstd(_ count: Int, window: UInt8 = 7 << 3, ends: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0, window]
        var left = count
        repeat {
            let part = min(left, 128 << 10)
            left -= part
            let head = (left == 0 && ends ? 1 : 0) | 1 << 1 | part << 3
            bytes += [UInt8(head & 0xFF), UInt8(head >> 8 & 0xFF), UInt8(head >> 16), 0x41]
        } while left > 0
        return bytes
    }

    private struct BitWriter {
        var bytes: [UInt8] = []
        private var used = 8

        mutating func add(_ value: Int, _ count: Int) {
            for bit in 0..<count { addBit(value >> bit & 1) }
        }

        /// Huffman codes go in from their top bit.
        mutating func addCode(_ value: Int, _ count: Int) {
            for bit in (0..<count).reversed() { addBit(value >> bit & 1) }
        }

        private mutating func addBit(_ bit: Int) {
            if used == 8 {
                bytes.append(0)
                used = 0
            }
            bytes[bytes.count - 1] |= UInt8(bit << used)
            used += 1
        }
    }
}
