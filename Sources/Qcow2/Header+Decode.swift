public import Block
import Bytes

extension Header {
    /// Reads a header from the image's first bytes: the whole header cluster, or all of the file where it is shorter.
    ///
    /// Every field is checked against `Limits`, and every size before anything depends on it. What cannot be opened for
    /// lack of a feature decodes all the same: `unsupported` says so afterwards.
    public static func decode(_ bytes: RawSpan) throws(OpenError) -> Header {
        guard bytes.byteCount >= 4, bytes.bigEndian(UInt32.self, at: 0) == magic else {
            throw OpenError("Image is not in qcow2 format")
        }
        guard bytes.byteCount >= 8 else { throw OpenError("qcow2 header too short") }
        let version = bytes.bigEndian(UInt32.self, at: 4)
        guard version == 2 || version == 3 else { throw OpenError("Unsupported qcow2 version \(version)") }
        guard bytes.byteCount >= Int(version == 2 ? lengthV2 : 104) else { throw OpenError("qcow2 header too short") }

        var header = Header(version: version)
        header.decodeFixedFields(bytes)
        guard (Limits.minClusterBits...Limits.maxClusterBits).contains(header.clusterBits) else {
            throw OpenError("Unsupported cluster size: 2^\(header.clusterBits)")
        }
        let headerLength = try header.decodeVersion3Fields(bytes)
        try header.decodeVariableParts(bytes, headerLength: headerLength)
        try header.checkCompression(bytes, headerLength: headerLength)
        try header.validate()
        return header
    }

    /// The cluster size that the first bytes claim, so that the rest of the header cluster can be read; nil where they
    /// are no qcow2 header or the claim is out of bounds.
    public static func clusterSize(claimedBy bytes: RawSpan) -> UInt64? {
        guard bytes.byteCount >= 24, bytes.bigEndian(UInt32.self, at: 0) == magic else { return nil }
        let bits = bytes.bigEndian(UInt32.self, at: 20)
        guard (Limits.minClusterBits...Limits.maxClusterBits).contains(bits) else { return nil }
        return 1 << UInt64(bits)
    }

    private mutating func decodeFixedFields(_ bytes: RawSpan) {
        clusterBits = bytes.bigEndian(at: 20)
        size = bytes.bigEndian(at: 24)
        cryptMethod = bytes.bigEndian(at: 32)
        l1Size = bytes.bigEndian(at: 36)
        l1TableOffset = bytes.bigEndian(at: 40)
        refcountTableOffset = bytes.bigEndian(at: 48)
        refcountTableClusters = bytes.bigEndian(at: 56)
        snapshotCount = bytes.bigEndian(at: 60)
        snapshotsOffset = bytes.bigEndian(at: 64)
    }

    /// Answers the header's length in bytes.
    private mutating func decodeVersion3Fields(_ bytes: RawSpan) throws(OpenError) -> Int {
        guard version >= 3 else {
            refcountOrder = 4
            return Int(Self.lengthV2)
        }
        incompatible = IncompatibleFeatures(rawValue: bytes.bigEndian(at: 72))
        compatible = CompatibleFeatures(rawValue: bytes.bigEndian(at: 80))
        autoclear = AutoclearFeatures(rawValue: bytes.bigEndian(at: 88))
        refcountOrder = bytes.bigEndian(at: 96)
        let length = bytes.bigEndian(UInt32.self, at: 100)
        guard length >= 104 else { throw refused("qcow2 header too short", "header_length", length) }
        guard UInt64(length) <= geometry.clusterSize else {
            throw refused("qcow2 header exceeds cluster size", "header_length", length)
        }
        guard length <= Limits.headerBytes else {
            throw OpenError("qcow2 header length \(length) exceeds \(Limits.headerBytes) bytes")
        }
        guard Int(length) <= bytes.byteCount else { throw OpenError("Could not read unknown qcow2 header fields") }
        if length > Self.lengthV3 {
            unknownFields = bytes.extracting(Int(Self.lengthV3)..<Int(length)).array
            // The next header must begin at a multiple of 8; a length that is none is padded when written.
            while unknownFields.count % 8 != 0 { unknownFields.append(0) }
        }
        return Int(length)
    }

    private mutating func decodeVariableParts(_ bytes: RawSpan, headerLength: Int) throws(OpenError) {
        let nameOffset = bytes.bigEndian(UInt64.self, at: 8)
        let nameLength = bytes.bigEndian(UInt32.self, at: 16)
        let clusterSize = geometry.clusterSize
        guard nameOffset <= clusterSize else {
            throw refused("Invalid backing file offset", "backing_file_offset", nameOffset)
        }
        let whole = Int(min(UInt64(bytes.byteCount), clusterSize))
        let end = nameOffset == 0 ? whole : min(whole, Int(nameOffset))
        let start = (headerLength + 7) & ~7
        // Unknown features are named by the table, so a table that cannot be read must not hide them.
        do {
            extensions = start < end ? try HeaderExtension.decodeList(bytes, from: start, to: end) : []
        } catch {
            extensions = []
            if let objection = unknownFeatures { throw objection }
            throw error
        }
        guard nameOffset != 0 else { return }
        guard nameLength <= min(UInt64(Limits.backingNameBytes), clusterSize - nameOffset) else {
            throw refused("Backing file name too long", "backing_file_size", nameLength)
        }
        guard Int(nameOffset) + Int(nameLength) <= bytes.byteCount else {
            throw OpenError("Could not read backing file name")
        }
        if nameLength > 0 {
            backingFileName = bytes.extracting(Int(nameOffset)..<Int(nameOffset) + Int(nameLength)).array
        }
    }

    private mutating func checkCompression(_ bytes: RawSpan, headerLength: Int) throws(OpenError) {
        guard version >= 3 else { return }
        if let objection = unknownFeatures { throw objection }
        let raw: UInt8 = headerLength > 104 ? bytes.byte(at: 104) : 0
        guard let type = CompressionType(rawValue: raw) else {
            throw OpenError("qcow2: unknown compression type: \(raw)")
        }
        let flagged = incompatible.contains(.compressionType)
        guard flagged == (type != .zlib) else {
            let need = flagged ? "must not be set" : "must be set"
            throw OpenError("qcow2: Compression type incompatible feature bit \(need)")
        }
        compressionType = type
    }
}
