/// Incompatible features (header bytes 72–79): a program that does not know one must not open the image.
public struct IncompatibleFeatures: OptionSet, Hashable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Refcounts may be wrong: they are rebuilt before the first write.
    public static let dirty = Self(rawValue: 1 << 0)
    /// Metadata is known to be damaged: no writes until repaired.
    public static let corrupt = Self(rawValue: 1 << 1)
    /// Guest data lies in a second file.
    public static let externalDataFile = Self(rawValue: 1 << 2)
    /// Compressed clusters are of the kind that `compressionType` names.
    public static let compressionType = Self(rawValue: 1 << 3)
    /// L2 entries are 128 bits wide and describe 32 subclusters each.
    public static let extendedL2 = Self(rawValue: 1 << 4)
}

/// Compatible features (bytes 80–87): may be ignored by whoever does not know them.
public struct CompatibleFeatures: OptionSet, Hashable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// A writer may postpone refcount updates under the dirty bit.
    public static let lazyRefcounts = Self(rawValue: 1 << 0)
}

/// Autoclear features (bytes 88–95): a writer that does not know one clears it.
public struct AutoclearFeatures: OptionSet, Hashable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// The bitmaps extension is consistent with the data.
    public static let bitmaps = Self(rawValue: 1 << 0)
    /// The external data file can be read as a raw image.
    public static let rawExternalData = Self(rawValue: 1 << 1)
}

/// One line of the feature name table (header extension 0x6803f857): what a person calls a feature bit.
public struct FeatureName: Equatable, Hashable, Sendable {
    public enum Kind: UInt8, Sendable {
        case incompatible = 0
        case compatible = 1
        case autoclear = 2
    }

    public let kind: Kind
    /// The bit's number, 0 to 63.
    public let bit: UInt8
    /// At most 46 bytes.
    public let name: String

    public init(kind: Kind, bit: UInt8, name: String) {
        self.kind = kind
        self.bit = bit
        self.name = name
    }

    /// The names that a new version 3 image carries.
    public static let standard: [FeatureName] = [
        FeatureName(kind: .incompatible, bit: 0, name: "dirty bit"),
        FeatureName(kind: .incompatible, bit: 1, name: "corrupt bit"),
        FeatureName(kind: .incompatible, bit: 2, name: "external data file"),
        FeatureName(kind: .incompatible, bit: 3, name: "compression type"),
        FeatureName(kind: .incompatible, bit: 4, name: "extended L2 entries"),
        FeatureName(kind: .compatible, bit: 0, name: "lazy refcounts"),
        FeatureName(kind: .autoclear, bit: 0, name: "bitmaps"),
        FeatureName(kind: .autoclear, bit: 1, name: "raw external data"),
    ]
}
