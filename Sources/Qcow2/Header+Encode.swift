public import Block
import Bytes

extension Header {
    /// The header cluster's bytes: fixed fields, extensions, end mark, the backing file's name, zeros up to the cluster's
    /// end. Throws where they do not fit.
    public func encode() throws(OpenError) -> [UInt8] {
        try validate()
        let clusterSize = Int(geometry.clusterSize)
        let tail = try encodeVariableParts(room: clusterSize)
        var bytes = [UInt8](repeating: 0, count: clusterSize)
        let nameOffset = tail.nameOffset
        bytes.withMutableBytes { (span: inout MutableRawSpan) in
            encodeFixedFields(into: &span, nameOffset: nameOffset)
        }
        if version >= 3 {
            bytes.replaceSubrange(Int(Self.lengthV3)..<Int(encodedLength), with: unknownFields)
        }
        bytes.replaceSubrange(Int(encodedLength)..<Int(encodedLength) + tail.bytes.count, with: tail.bytes)
        return bytes
    }

    /// Stores the fixed fields, all but unknown ones, over the first bytes of `span`: 72 in version 2, 112 in version 3.
    @_lifetime(span: copy span)
    func encodeFixedFields(into span: inout MutableRawSpan, nameOffset: Int) {
        span.storeBigEndian(Self.magic, at: 0)
        span.storeBigEndian(version, at: 4)
        span.storeBigEndian(UInt64(backingFileName == nil ? 0 : nameOffset), at: 8)
        span.storeBigEndian(UInt32(clamping: backingFileName?.count ?? 0), at: 16)
        span.storeBigEndian(clusterBits, at: 20)
        span.storeBigEndian(size, at: 24)
        span.storeBigEndian(cryptMethod, at: 32)
        span.storeBigEndian(l1Size, at: 36)
        span.storeBigEndian(l1TableOffset, at: 40)
        span.storeBigEndian(refcountTableOffset, at: 48)
        span.storeBigEndian(refcountTableClusters, at: 56)
        span.storeBigEndian(snapshotCount, at: 60)
        span.storeBigEndian(snapshotsOffset, at: 64)
        guard version >= 3 else { return }
        span.storeBigEndian(incompatible.rawValue, at: 72)
        span.storeBigEndian(compatible.rawValue, at: 80)
        span.storeBigEndian(autoclear.rawValue, at: 88)
        span.storeBigEndian(refcountOrder, at: 96)
        span.storeBigEndian(encodedLength, at: 100)
        span.storeBigEndian(compressionType.rawValue, at: 104)
    }

    /// Extensions, end mark and the backing file's name; they begin where the fixed header ends.
    private func encodeVariableParts(room: Int) throws(OpenError) -> (bytes: [UInt8], nameOffset: Int) {
        var bytes: [UInt8] = []
        for part in extensions {
            let data = part.data
            bytes.append(bigEndian: part.type)
            bytes.append(bigEndian: UInt32(clamping: data.count))
            bytes.append(contentsOf: data)
            bytes.append(contentsOf: repeatElement(0, count: (8 - data.count % 8) % 8))
        }
        // The end mark.
        bytes.append(contentsOf: repeatElement(0, count: 8))
        let nameOffset = Int(encodedLength) + bytes.count
        if let name = backingFileName {
            guard name.count <= Limits.backingNameBytes else { throw OpenError("Backing file name too long") }
            bytes.append(contentsOf: name)
        }
        guard Int(encodedLength) + bytes.count <= room else {
            throw OpenError("qcow2 header exceeds cluster size")
        }
        return (bytes, nameOffset)
    }
}

extension [UInt8] {
    fileprivate mutating func append(bigEndian value: UInt32) {
        for shift in [24, 16, 8, 0] { append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
    }
}
