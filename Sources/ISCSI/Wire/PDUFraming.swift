import Bytes
import Digests

/// Where the parts of a PDU lie behind its header, and how they are checked: with or without digests (RFC 7143 13.1).
struct PDUFraming: Equatable, Sendable {
    var hasHeaderDigest = false
    var hasDataDigest = false

    static let digestCount = 4

    /// A PDU that has come whole; positions count from its first byte.
    struct Frame: Equatable, Sendable {
        var header: PDUHeader
        var ahs: Range<Int>
        var data: Range<Int>
        /// With all digests and padding.
        var byteCount: Int
        /// Whether the data is what its digest says. The header is in every frame.
        var isDataIntact = true
    }

    enum Next: Equatable, Sendable {
        /// More bytes are needed.
        case incomplete
        case whole(Frame)
        /// The header is damaged: where the next PDU begins is not known.
        case damaged
        /// More data than was agreed, which is not read to its end to stay in step.
        case tooLong(PDUHeader)
    }

    /// Looks at what has come: the first PDU in it. `limit` bounds its data.
    func next(_ bytes: RawSpan, limit: Int) -> Next {
        guard bytes.byteCount >= PDUHeader.byteCount else { return .incomplete }
        let header = PDUHeader(bytes)
        let headEnd = PDUHeader.byteCount + header.ahsCount
        let dataStart = headEnd + (hasHeaderDigest ? Self.digestCount : 0)
        guard bytes.byteCount >= dataStart else { return .incomplete }
        if hasHeaderDigest, !isIntact(bytes, 0..<headEnd) { return .damaged }
        guard header.dataCount <= limit else { return .tooLong(header) }
        var frame = Frame(
            header: header, ahs: PDUHeader.byteCount..<headEnd, data: dataStart..<dataStart + header.dataCount,
            byteCount: dataStart)
        guard header.dataCount > 0 else { return .whole(frame) }
        let dataEnd = frame.data.upperBound + padding(header.dataCount)
        frame.byteCount = dataEnd + (hasDataDigest ? Self.digestCount : 0)
        guard bytes.byteCount >= frame.byteCount else { return .incomplete }
        if hasDataDigest { frame.isDataIntact = isIntact(bytes, dataStart..<dataEnd) }
        return .whole(frame)
    }

    /// Whether the digest behind a range of bytes is theirs.
    private func isIntact(_ bytes: RawSpan, _ range: Range<Int>) -> Bool {
        CRC32C(bytes.extracting(range)).value == bytes.littleEndian(UInt32.self, at: range.upperBound)
    }

    // MARK: Sending

    /// Bytes of a PDU with so much data.
    func byteCount(data count: Int) -> Int { headCount + (count > 0 ? count + tailCount(count) : 0) }

    /// Bytes of a header with its digest.
    var headCount: Int { PDUHeader.byteCount + (hasHeaderDigest ? Self.digestCount : 0) }

    /// Bytes behind so much data.
    func tailCount(_ count: Int) -> Int { padding(count) + (hasDataDigest ? Self.digestCount : 0) }

    /// Writes a PDU at `position`; answers where it ends.
    func store(
        _ header: PDUHeader, _ data: RawSpan, into bytes: inout MutableRawSpan, at position: Int
    ) -> Int {
        let dataStart = storeHead(header, into: &bytes, at: position)
        guard data.byteCount > 0 else { return dataStart }
        bytes.copy(data, at: dataStart)
        return storeTail(data, into: &bytes, at: dataStart + data.byteCount)
    }

    /// Writes a header at `position`; answers where it ends.
    func storeHead(_ header: PDUHeader, into bytes: inout MutableRawSpan, at position: Int) -> Int {
        header.store(&bytes, at: position)
        let end = position + PDUHeader.byteCount
        guard hasHeaderDigest else { return end }
        bytes.storeLittleEndian(CRC32C(bytes.bytes.extracting(position..<end)).value, at: end)
        return end + Self.digestCount
    }

    /// Writes what follows data; answers where it ends.
    func storeTail(_ data: RawSpan, into bytes: inout MutableRawSpan, at position: Int) -> Int {
        let end = position + padding(data.byteCount)
        bytes.fill(at: position, count: end - position)
        guard hasDataDigest else { return end }
        var digest = CRC32C(data)
        digest.add(bytes.bytes.extracting(position..<end))
        bytes.storeLittleEndian(digest.value, at: end)
        return end + Self.digestCount
    }
}
