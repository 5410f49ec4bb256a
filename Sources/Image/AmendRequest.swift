public import Qcow2

/// `amend`: what is asked for, read as qemu-img does before anything is touched.
public struct AmendRequest: Sendable {
    public let image: ImageReference
    public let options: OptionList

    public init(image: ImageReference, options: OptionList) {
        self.image = image
        self.options = options
    }

    /// Why nothing of a format can be changed.
    public static func refusal(of format: String) -> ImageError {
        ImageError(
            RebaseRequest.formats.contains(format)
                ? "Format driver '\(format)' does not support option amendment" : "Unknown file format '\(format)'")
    }

    /// Options that a new image alone can have.
    private static let forCreation: Set<String> = [
        "cluster_size", "preallocation", "encryption", "encrypt.format", "encrypt.cipher-alg", "encrypt.cipher-mode",
        "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg", "encrypt.hash-alg", "encrypt.key-secret", "compression_type",
        "extended_l2",
    ]

    /// The options in the format's own terms, or the refusal of the first that is wrong.
    public func qcow2Options() throws(ImageError) -> AmendOptions {
        var result = AmendOptions()
        for (key, value) in options.pairs {
            switch key {
            case "compat":
                switch value {
                case "0.10", "v2": result.version = .v2
                case "1.1", "v3": result.version = .v3
                case "": break
                default: throw ImageError("Unknown compatibility level \(value)")
                }
            case "size": result.size = try size(value)
            case "backing_file": result.backingFile = value
            case "backing_fmt": result.backingFormat = value
            case "lazy_refcounts": result.lazyRefcounts = try flag(key, value)
            case "refcount_bits":
                guard let bits = UInt64(value) else { throw ImageError("Parameter '\(key)' expects a number") }
                result.refcountBits = Int(clamping: bits)
            case "data_file": result.dataFile = value
            case "data_file_raw": result.dataFileIsRaw = try flag(key, value)
            case _ where Self.forCreation.contains(key):
                throw ImageError("Invalid parameter '\(key)'\nThis option is only supported for image creation")
            default: throw ImageError("Invalid parameter '\(key)'")
            }
        }
        return result
    }

    private func flag(_ key: String, _ value: String) throws(ImageError) -> Bool {
        switch value {
        case "on": return true
        case "off": return false
        default: throw ImageError("Parameter '\(key)' expects 'on' or 'off'")
        }
    }

    private func size(_ text: String) throws(ImageError) -> UInt64 {
        do { return try SizeText.parse(text) } catch {
            throw ImageError(
                """
                Parameter 'size' expects a non-negative number below 2^64
                Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
                and exabytes, respectively.
                """)
        }
    }
}
