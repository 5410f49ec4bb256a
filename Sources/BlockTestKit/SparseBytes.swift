public import Bytes

/// A long run of bytes of which most are holes: pages that were never written read as zeros. A value; copies share
/// pages.
public struct SparseBytes: Sendable {
    public static let pageSize: UInt64 = 4096

    private var pages: [UInt64: [UInt8]] = [:]
    public private(set) var length: UInt64

    public init(length: UInt64 = 0) { self.length = length }

    public init(_ bytes: [UInt8]) {
        length = 0
        write(bytes.rawBytes, at: 0)
    }

    /// Bytes held in memory.
    public var allocatedBytes: UInt64 { UInt64(pages.count) * Self.pageSize }

    /// The pages in memory, cut at the length; what lies between them is zeros.
    public var heldRanges: [ByteRange] {
        pages.keys.sorted().map {
            ByteRange(at: $0 * Self.pageSize, count: Self.pageSize).intersection(ByteRange(at: 0, count: length))
        }
    }

    /// Fills `buffer` from `offset`; zeros past the end.
    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) {
        var rest = ByteRange(at: offset, count: UInt64(buffer.byteCount))
        while !rest.isEmpty {
            let (page, part) = Self.firstPage(of: rest)
            let target = Int(part.start - offset)
            if let bytes = pages[page] {
                let from = Int(part.start - page * Self.pageSize)
                buffer.copy(bytes.rawBytes.extracting(from..<from + Int(part.count)), at: target)
            } else {
                buffer.fill(at: target, count: Int(part.count))
            }
            rest = rest.dropping(part.count)
        }
    }

    public func bytes(_ range: ByteRange) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: Int(range.count))
        result.withMutableBytes { read(at: range.start, into: &$0) }
        return result
    }

    public func byte(at offset: UInt64) -> UInt8 {
        pages[offset / Self.pageSize].map { $0[Int(offset % Self.pageSize)] } ?? 0
    }

    /// All of it as an array; for images of test size.
    public var array: [UInt8] { bytes(ByteRange(at: 0, count: length)) }

    /// Stores bytes; grows where they pass the end.
    public mutating func write(_ bytes: RawSpan, at offset: UInt64) {
        let range = ByteRange(at: offset, count: UInt64(bytes.byteCount))
        var rest = range
        while !rest.isEmpty {
            let (page, part) = Self.firstPage(of: rest)
            let source = Int(part.start - offset)
            let from = Int(part.start - page * Self.pageSize)
            pages[page, default: [UInt8](repeating: 0, count: Int(Self.pageSize))].withMutableBytes {
                $0.copy(bytes.extracting(source..<source + Int(part.count)), at: from)
            }
            rest = rest.dropping(part.count)
        }
        length = max(length, range.end)
    }

    /// Makes a range read as zeros and gives whole pages back; the length stays.
    public mutating func zero(_ range: ByteRange) {
        let inside = range.intersection(ByteRange(at: 0, count: length))
        if inside.count / Self.pageSize > UInt64(pages.count) {
            // Many more pages in the range than there are at all: look at those there are.
            for page in Array(pages.keys) {
                zero(page, part: inside.intersection(ByteRange(at: page * Self.pageSize, count: Self.pageSize)))
            }
            return
        }
        var rest = inside
        while !rest.isEmpty {
            let (page, part) = Self.firstPage(of: rest)
            zero(page, part: part)
            rest = rest.dropping(part.count)
        }
    }

    private mutating func zero(_ page: UInt64, part: ByteRange) {
        if part.count == Self.pageSize {
            pages[page] = nil
        } else if pages[page] != nil, !part.isEmpty {
            let from = Int(part.start - page * Self.pageSize)
            pages[page]?.withMutableBytes { $0.fill(at: from, count: Int(part.count)) }
        }
    }

    /// A number that equal contents share; different ones hardly ever do.
    public var fingerprint: UInt64 {
        pages.reduce(length &* 0x9E37_79B9_7F4A_7C15) { sum, page in
            // Pages are summed, for a dictionary has no order; a page of zeros counts as one that is not there.
            let bytes = page.value.rawBytes
            var mixed: UInt64 = 0
            for offset in stride(from: 0, to: bytes.byteCount, by: 8) {
                let word = bytes.littleEndian(UInt64.self, at: offset)
                mixed = (mixed ^ word) &* 0x9FB2_1C65_1E98_DF25
                mixed ^= mixed >> 32
            }
            return mixed == 0 ? sum : sum &+ mixed &* ((page.key << 1 | 1) &* 0xD6E8_FEB8_6659_FD93)
        }
    }

    /// Sets the length; new bytes read as zeros.
    public mutating func resize(to length: UInt64) {
        if length < self.length { zero(ByteRange(from: length, to: self.length)) }
        self.length = length
    }

    /// How far from the start of `range` (at least a byte, inside the length) memory is held, or is not.
    public func run(_ range: ByteRange) -> (count: UInt64, allocated: Bool) {
        let first = range.start / Self.pageSize
        let allocated = pages[first] != nil
        var page = first
        while (page + 1) * Self.pageSize < range.end, (pages[page + 1] != nil) == allocated { page += 1 }
        return (min(range.end, (page + 1) * Self.pageSize) - range.start, allocated)
    }

    /// Whether any byte of the range is held in memory.
    public func holds(_ range: ByteRange) -> Bool {
        guard !range.isEmpty else { return false }
        return (range.start / Self.pageSize...(range.end - 1) / Self.pageSize).contains { pages[$0] != nil }
    }

    private static func firstPage(of range: ByteRange) -> (page: UInt64, part: ByteRange) {
        let page = range.start / pageSize
        return (page, range.prefix((page + 1) * pageSize - range.start))
    }
}

extension SparseBytes: Equatable {
    /// Equal in length and contents, however the pages are held.
    public static func == (left: SparseBytes, right: SparseBytes) -> Bool {
        guard left.length == right.length else { return false }
        let zeros = [UInt8](repeating: 0, count: Int(pageSize))
        return Set(left.pages.keys).union(right.pages.keys).allSatisfy { page in
            let (mine, theirs) = (left.pages[page] ?? zeros, right.pages[page] ?? zeros)
            return mine.rawBytes.isSame(as: theirs.rawBytes)
        }
    }
}
