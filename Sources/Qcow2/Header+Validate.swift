public import Block
import Bytes

extension Header {
    /// The incompatible features that the format knows, whether or not this program can open them.
    static let knownIncompatible: IncompatibleFeatures = [
        .dirty, .corrupt, .externalDataFile, .compressionType, .extendedL2,
    ]
    /// The incompatible features that this program can open.
    static let supportedIncompatible: IncompatibleFeatures = [
        .dirty, .corrupt, .externalDataFile, .compressionType, .extendedL2,
    ]

    /// The refusal of incompatible features that nobody here knows, named by the image's own table.
    var unknownFeatures: OpenError? { refusal(of: incompatible.subtracting(Self.knownIncompatible)) }

    /// Why the image, though valid, cannot be opened by this program; nil where it can.
    public var unsupported: OpenError? {
        if let refusal = refusal(of: incompatible.subtracting(Self.supportedIncompatible)) { return refusal }
        switch cryptMethod {
        case 0: return nil
        case 1: return OpenError("Unsupported qcow2 encryption: AES (encryption method 1)")
        default: return OpenError("Unsupported qcow2 encryption: LUKS (encryption method \(cryptMethod))")
        }
    }

    private func refusal(of features: IncompatibleFeatures) -> OpenError? {
        guard !features.isEmpty else { return nil }
        var rest = features.rawValue
        var names: [String] = []
        for name in featureNames + FeatureName.standard
        where name.kind == .incompatible && name.bit < 64 && rest & (1 << UInt64(name.bit)) != 0 {
            names.append(name.name)
            rest &= ~(1 << UInt64(name.bit))
        }
        if rest != 0 { names.append("Unknown incompatible feature: \(String(rest, radix: 16))") }
        return OpenError("Unsupported qcow2 feature(s): \(names.joined(separator: ", "))")
    }

    /// Checks every field that needs no look into the file, in the order and with the words of QEMU 7.2.
    public func validate() throws(OpenError) {
        guard version == 2 || version == 3 else { throw OpenError("Unsupported qcow2 version \(version)") }
        guard (Limits.minClusterBits...Limits.maxClusterBits).contains(clusterBits) else {
            throw OpenError("Unsupported cluster size: 2^\(clusterBits)")
        }
        if let objection = unknownFeatures { throw objection }
        guard geometry.subclusterSize >= Limits.minSubcluster else {
            throw OpenError("Unsupported subcluster size: \(geometry.subclusterSize)")
        }
        guard refcountOrder <= 6 else {
            throw refused(
                "Reference count entry width too large; may not exceed 64 bits", "refcount_order", refcountOrder)
        }
        guard cryptMethod <= 2 else { throw OpenError("Unsupported encryption method \(cryptMethod)") }
        guard size <= UInt64(Int64.max) else { throw OpenError("Image is too big") }
        try validateTables()
        if cryptMethod != 2, extensions.contains(where: { $0.type == HeaderExtension.encryptionType }) {
            throw refused(
                "CRYPTO header extension only expected with LUKS encryption method", "crypt_method", cryptMethod)
        }
    }

    private func validateTables() throws(OpenError) {
        let geometry = self.geometry
        guard refcountTableClusters > 0 else {
            throw refused("Image does not contain a reference count table", "refcount_table_clusters", 0)
        }
        guard UInt64(refcountTableClusters) <= geometry.maxRefcountTableClusters else {
            throw refused("Reference count table too large", "refcount_table_clusters", refcountTableClusters)
        }
        try checkTable(
            "Reference count table", at: refcountTableOffset,
            bytes: UInt64(refcountTableClusters) << UInt64(clusterBits), mayBeNull: false)
        guard snapshotCount <= Limits.snapshots else {
            throw refused("Snapshot table too large", "nb_snapshots", snapshotCount)
        }
        // An entry has at least 40 bytes.
        try checkTable(
            "Snapshot table", at: snapshotsOffset, bytes: UInt64(snapshotCount) * 40, mayBeNull: snapshotCount == 0)
        guard UInt64(l1Size) * 8 <= Limits.l1Bytes else {
            throw refused("Active L1 table too large", "l1_size", l1Size)
        }
        let needed = geometry.l1Entries(for: size)
        guard needed * 8 <= Limits.l1Bytes else { throw OpenError("Image is too big") }
        guard needed <= UInt64(l1Size) else {
            throw refused("L1 table is too small", "l1_size", "\(l1Size), size is \(size)")
        }
        try checkTable("Active L1 table", at: l1TableOffset, bytes: UInt64(l1Size) * 8, mayBeNull: l1Size == 0)
    }

    /// A table begins at a cluster, not in the header's, and ends where host offsets do.
    private func checkTable(_ name: String, at offset: UInt64, bytes: UInt64, mayBeNull: Bool) throws(OpenError) {
        if mayBeNull { return }
        guard offset & geometry.clusterMask == 0, offset != 0, offset < Limits.hostOffset,
            bytes <= Limits.hostOffset - offset
        else { throw refused("\(name) offset invalid", "it", offset) }
    }

    /// QEMU's words for what is wrong, and the field and its value behind them.
    func refused(_ text: String, _ field: String, _ value: some CustomStringConvertible) -> OpenError {
        OpenError("\(text) (\(field) is \(value))")
    }
}
