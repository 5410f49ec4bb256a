import Block
import Bytes

/// Two disks, run by run: what both maps say is zero is not read.
struct Comparison {
    private struct Side {
        let chain: ImageChain
        let name: String
        let length: UInt64

        init(_ side: (chain: ImageChain, name: String)) {
            (chain, name) = side
            length = side.chain.top.length.roundedUpToSector ?? side.chain.top.length
        }
    }

    private let first: Side
    private let second: Side
    private let isStrict: Bool
    private let progress: (Double) -> Void

    /// Bytes that are read of each at a time.
    private static let piece: UInt64 = 2 << 20

    init(
        _ first: (chain: ImageChain, name: String), _ second: (chain: ImageChain, name: String), isStrict: Bool,
        progress: @escaping (Double) -> Void
    ) {
        self.first = Side(first)
        self.second = Side(second)
        self.isStrict = isStrict
        self.progress = progress
    }

    /// Says what there is to say, line by line, and answers whether the two are the same.
    func run(_ say: (String) -> Void) async throws(ImageError) -> Bool {
        if isStrict, first.length != second.length {
            say("Strict mode: Image size mismatch!")
            return false
        }
        var found = try await difference()
        if found == nil, first.length != second.length {
            say("Warning: Image size mismatch!")
            found = try await rest()
        }
        say(found ?? "Images are identical.")
        return found == nil
    }

    private static func mismatch(_ offset: UInt64) -> String { "Content mismatch at offset \(offset)!" }

    private func tell(_ position: UInt64) {
        progress(Double(position) / Double(max(first.length, second.length, 1)))
    }

    // MARK: what both have

    private func difference() async throws(ImageError) -> String? {
        let end = min(first.length, second.length)
        var one = AlignedBuffer(byteCount: Int(min(Self.piece, end)))
        var other = AlignedBuffer(byteCount: Int(min(Self.piece, end)))
        var here = one.mutableBytes
        var there = other.mutableBytes
        var position: UInt64 = 0
        while position < end {
            let rest = ByteRange(from: position, to: end)
            let (a, b) = (try await status(of: rest, first), try await status(of: rest, second))
            if isStrict, a.kind != b.kind { return "Strict mode: Offset \(position) block status mismatch!" }
            var part = rest.prefix(min(a.count, b.count))
            if !(a.isZero && b.isZero), a.isAllocated || b.isAllocated {
                part = part.prefix(Self.piece)
                let found =
                    a.isAllocated && b.isAllocated
                    ? try await compare(part, &here, &there)
                    : try await firstData(of: part, a.isAllocated ? first : second, &here)
                if let found { return Self.mismatch(found) }
            }
            position = part.end
            tell(position)
        }
        return nil
    }

    /// Where the two differ first, to the sector.
    private func compare(_ part: ByteRange, _ here: inout MutableRawSpan, _ there: inout MutableRawSpan)
        async throws(ImageError) -> UInt64?
    {
        var one = here._mutatingExtracting(0..<Int(part.count))
        var other = there._mutatingExtracting(0..<Int(part.count))
        try await read(part, first, into: &one)
        try await read(part, second, into: &other)
        let (a, b) = (one.bytes, other.bytes)
        if a.isEqual(to: b) { return nil }
        var offset = 0
        while offset < a.byteCount {
            let next = min(offset + 512, a.byteCount)
            if !a.extracting(offset..<next).isEqual(to: b.extracting(offset..<next)) {
                return part.start + UInt64(offset)
            }
            offset = next
        }
        return nil
    }

    // MARK: what one has

    private func rest() async throws(ImageError) -> String? {
        let longer = first.length > second.length ? first : second
        var buffer = AlignedBuffer(byteCount: Int(Self.piece))
        var span = buffer.mutableBytes
        var position = min(first.length, second.length)
        while position < longer.length {
            let status = try await status(of: ByteRange(from: position, to: longer.length), longer)
            var part = ByteRange(at: position, count: status.count)
            if status.isAllocated, !status.isZero {
                part = part.prefix(Self.piece)
                if let found = try await firstData(of: part, longer, &span) { return Self.mismatch(found) }
            }
            position = part.end
            tell(position)
        }
        return nil
    }

    /// Where the first byte lies that is not zero, to the sector.
    private func firstData(of part: ByteRange, _ side: Side, _ buffer: inout MutableRawSpan)
        async throws(ImageError) -> UInt64?
    {
        var target = buffer._mutatingExtracting(0..<Int(part.count))
        try await read(part, side, into: &target)
        let bytes = target.bytes
        if bytes.isZero { return nil }
        for offset in 0..<bytes.byteCount where bytes.byte(at: offset) != 0 {
            return part.start + UInt64(offset & ~511)
        }
        return nil
    }

    // MARK: looking

    private struct Status {
        var count: UInt64
        var isZero: Bool
        var isAllocated: Bool
        /// What strict mode compares: the flags, and whether there is a place.
        var kind: Int
    }

    private func status(of range: ByteRange, _ side: Side) async throws(ImageError) -> Status {
        let length = side.chain.top.length
        guard range.start < length else {
            return Status(count: range.count, isZero: true, isAllocated: true, kind: -1)
        }
        do {
            let found = try await ImageMap.status(
                of: ByteRange(from: range.start, to: min(range.end, length)), side.chain)
            return Status(
                count: min(max(found.count, 1), range.count), isZero: found.flags.contains(.zero),
                isAllocated: found.flags.contains(.allocated),
                kind: Int(found.flags.rawValue) << 1 | (found.offset == nil ? 0 : 1))
        } catch { throw ImageError("Sector allocation test failed for \(side.name)", exitCode: 3) }
    }

    private func read(_ part: ByteRange, _ side: Side, into buffer: inout MutableRawSpan) async throws(ImageError) {
        let length = side.chain.top.length
        let inside = Int(min(part.count, length > part.start ? length - part.start : 0))
        buffer.fill(at: inside)
        guard inside > 0 else { return }
        var target = buffer._mutatingExtracting(0..<inside)
        do { try await side.chain.top.read(at: part.start, into: &target) } catch {
            throw ImageError(
                "Error while reading offset \(part.start) of \(side.name): \(error.sentence)", exitCode: 4)
        }
    }
}
