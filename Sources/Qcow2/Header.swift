/// The header of a qcow2 image (versions 2 and 3), with its extensions and the name of its backing file.
///
/// Fields are named as in the specification ("Header"). Values that were decoded have been checked against `Limits`; a
/// header built by hand is checked by `validate`.
public struct Header: Equatable, Sendable {
    /// `QFI\xfb`.
    public static let magic: UInt32 = 0x5146_49fb
    /// Bytes of a version 2 header.
    public static let lengthV2: UInt32 = 72
    /// Bytes of a version 3 header as we write it, compression type and padding included.
    public static let lengthV3: UInt32 = 112

    /// How compressed clusters are compressed (byte 104).
    public enum CompressionType: UInt8, Sendable {
        /// Raw deflate; QEMU names it zlib.
        case zlib = 0
        case zstd = 1

        public var name: String {
            switch self {
            case .zlib: "zlib"
            case .zstd: "zstd"
            }
        }
    }

    /// 2 or 3.
    public var version: UInt32
    /// The name of the backing file, as it stands in the image: bytes without a terminator, at most 1023.
    public var backingFileName: [UInt8]?
    /// log2 of the cluster size, 9 to 21.
    public var clusterBits: UInt32
    /// The virtual disk's size in bytes.
    public var size: UInt64
    /// 0 none, 1 AES, 2 LUKS.
    public var cryptMethod: UInt32
    /// Entries of the active L1 table.
    public var l1Size: UInt32
    public var l1TableOffset: UInt64
    public var refcountTableOffset: UInt64
    public var refcountTableClusters: UInt32
    public var snapshotCount: UInt32
    public var snapshotsOffset: UInt64
    public var incompatible: IncompatibleFeatures
    public var compatible: CompatibleFeatures
    public var autoclear: AutoclearFeatures
    /// log2 of the refcount width in bits, 0 to 6; 4 in version 2.
    public var refcountOrder: UInt32
    public var compressionType: CompressionType
    /// Fields behind the ones we know, up to the header's length; kept as they are.
    public var unknownFields: [UInt8]
    /// Extensions in the order of the image, the unknown ones as they are.
    public var extensions: [HeaderExtension]

    public init(
        version: UInt32 = 3, clusterBits: UInt32 = 16, size: UInt64 = 0, refcountOrder: UInt32 = 4,
        l1Size: UInt32 = 0, l1TableOffset: UInt64 = 0, refcountTableOffset: UInt64 = 0,
        refcountTableClusters: UInt32 = 0
    ) {
        self.version = version
        self.backingFileName = nil
        self.clusterBits = clusterBits
        self.size = size
        self.cryptMethod = 0
        self.l1Size = l1Size
        self.l1TableOffset = l1TableOffset
        self.refcountTableOffset = refcountTableOffset
        self.refcountTableClusters = refcountTableClusters
        self.snapshotCount = 0
        self.snapshotsOffset = 0
        self.incompatible = []
        self.compatible = []
        self.autoclear = []
        self.refcountOrder = refcountOrder
        self.compressionType = .zlib
        self.unknownFields = []
        self.extensions = Self.hasRoomForNames(version, clusterBits) ? [.featureNames(FeatureName.standard)] : []
    }

    /// Whether a new header names its features. The names, a courtesy, fill a header of 512 bytes, which then has no room for
    /// bitmaps.
    static func hasRoomForNames(_ version: UInt32, _ clusterBits: UInt32) -> Bool {
        version >= 3 && clusterBits > Limits.minClusterBits
    }

    /// Whether bit 0 of an L2 entry says that its cluster reads as zeros. In version 2, and where entries are extended, it is
    /// reserved ("Standard Cluster Descriptor" of the specification).
    var knowsZeroFlag: Bool { version >= 3 && !incompatible.contains(.extendedL2) }

    public var geometry: Geometry {
        Geometry(
            clusterBits: clusterBits, refcountOrder: refcountOrder,
            hasExtendedL2: incompatible.contains(.extendedL2))
    }

    /// The backing file's name as text; bytes that are no UTF-8 show as replacement characters.
    public var backingFile: String? {
        get { backingFileName.map { String(decoding: $0, as: UTF8.self) } }
        set { backingFileName = newValue.map { Array($0.utf8) } }
    }

    /// The backing file's format as the image states it (extension 0xe2792aca). Of several the last one counts, as in QEMU.
    public var backingFormat: String? {
        for case .backingFormat(let name) in extensions.reversed() { return name }
        return nil
    }

    /// The autoclear features whose rules this program keeps. A writer clears all others, for what they stand for may be
    /// stale from its first write on ("Header", bytes 88–95).
    var keptAutoclear: AutoclearFeatures { hasDataFile ? [.bitmaps, .rawExternalData] : .bitmaps }

    /// Whether guest data lies in a file of its own.
    public var hasDataFile: Bool { incompatible.contains(.externalDataFile) }

    /// The name of that file as the image states it (extension 0x44415441), bytes that nobody has looked at; nil where it
    /// states none.
    public var dataFileName: [UInt8]? {
        for case .other(HeaderExtension.dataFileType, let name) in extensions { return name }
        return nil
    }

    /// The same as text; bytes that are no UTF-8 show as replacement characters.
    public var dataFile: String? { dataFileName.map { String(decoding: $0, as: UTF8.self) } }

    /// `0.10` for version 2, `1.1` for version 3, as QEMU's `compat` option.
    public var compat: String { version >= 3 ? "1.1" : "0.10" }

    /// What the feature name table calls the bits.
    public var featureNames: [FeatureName] {
        for part in extensions where part.type == HeaderExtension.featureNamesType {
            if case .featureNames(let names) = part { return names }
            return HeaderExtension.legibleNames(part.data)
        }
        return []
    }

    /// Bytes of the fixed header as it will be written.
    public var encodedLength: UInt32 {
        version >= 3 ? Self.lengthV3 + UInt32(clamping: unknownFields.count) : Self.lengthV2
    }
}
