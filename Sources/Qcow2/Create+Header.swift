import Block
import Bytes

extension CreateOptions {
    private static let featureNames: [(kind: UInt8, bit: UInt8, name: String)] = [
        (0, 0, "dirty bit"), (0, 1, "corrupt bit"), (0, 2, "external data file"), (0, 3, "compression type"),
        (0, 4, "extended L2 entries"), (1, 0, "lazy refcounts"), (2, 0, "bitmaps"), (2, 1, "raw external data"),
    ]

    /// The first cluster's beginning: header, extensions and backing file name, as QEMU lays them out.
    func header(_ layout: CreateLayout) throws(OpenError) -> [UInt8] {
        var bytes = fields(layout)
        if let backingFormat { bytes += Self.headerExtension(0xE279_2ACA, Array(backingFormat.utf8)) }
        let name = Array((backingFile ?? "").utf8)
        guard name.count <= Self.backingFileLimit else {
            throw OpenError("Could not assign backing file '\(backingFile ?? "")': Invalid argument", cause: .invalid)
        }
        if version == .v3 {
            let features = Self.headerExtension(0x6803_F857, Self.featureTable)
            // The names are a courtesy; where the first cluster is too small for them the image does without.
            if bytes.count + features.count + 8 + name.count <= clusterSize { bytes += features }
        }
        // QEMU ends the extensions by their end mark, or by the end of the name's predecessor in version 2.
        bytes += [UInt8](repeating: 0, count: 8)
        guard UInt64(bytes.count + name.count) <= clusterSize else {
            throw OpenError(
                "Could not assign backing file '\(backingFile ?? "")': No space left on device", cause: .noSpace)
        }
        if !name.isEmpty {
            let offset = bytes.count
            bytes.withMutableBytes { span in
                span.storeBigEndian(UInt64(offset), at: 8)
                span.storeBigEndian(UInt32(name.count), at: 16)
            }
            bytes += name
        }
        return bytes
    }

    /// The fixed fields: 72 bytes in version 2, 112 in version 3.
    private func fields(_ layout: CreateLayout) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: version == .v2 ? 72 : 112)
        bytes.withMutableBytes { span in
            span.storeBigEndian(0x5146_49FB as UInt32, at: 0)
            span.storeBigEndian(UInt32(version.rawValue), at: 4)
            span.storeBigEndian(UInt32(clusterSize.trailingZeroBitCount), at: 20)
            span.storeBigEndian(size, at: 24)
            span.storeBigEndian(UInt32(layout.l1Entries), at: 36)
            span.storeBigEndian(layout.l1Offset, at: 40)
            span.storeBigEndian(layout.refcountTableOffset, at: 48)
            span.storeBigEndian(UInt32(layout.refcountTableClusters), at: 56)
            guard version == .v3 else { return }
            span.storeBigEndian(UInt64(compression == .zlib ? 0 : 8), at: 72)
            span.storeBigEndian(UInt64(lazyRefcounts ? 1 : 0), at: 80)
            span.storeBigEndian(UInt32(refcountBits.trailingZeroBitCount), at: 96)
            span.storeBigEndian(UInt32(112), at: 100)
            span.storeBytes(of: compression.rawValue, toByteOffset: 104, as: UInt8.self)
        }
        return bytes
    }

    private static var featureTable: [UInt8] {
        var table: [UInt8] = []
        for feature in featureNames {
            let name = Array(feature.name.utf8)
            table += [feature.kind, feature.bit] + name + [UInt8](repeating: 0, count: 46 - name.count)
        }
        return table
    }

    /// A header extension, padded to a multiple of 8 bytes.
    private static func headerExtension(_ type: UInt32, _ data: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 8)
        bytes.withMutableBytes { span in
            span.storeBigEndian(type, at: 0)
            span.storeBigEndian(UInt32(data.count), at: 4)
        }
        return bytes + data + [UInt8](repeating: 0, count: (8 - data.count % 8) % 8)
    }
}
