public import Block

/// `create`: the options of a new image, read and checked as qemu-img does, before anything is touched.
public struct CreateRequest: Sendable {
    public enum Kind: String, Sendable, CaseIterable { case raw, qcow2 }

    public let path: String
    public let kind: Kind
    public private(set) var options: OptionList
    /// The virtual size in bytes, where it was given.
    public private(set) var size: UInt64?
    /// Whether the backing file is looked at, for its size and its format.
    public let checksBacking: Bool

    static let qcow2Keys = [
        "encryption", "encrypt.format", "encrypt.key-secret", "encrypt.cipher-alg", "encrypt.cipher-mode",
        "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg", "encrypt.hash-alg", "encrypt.iter-time", "cluster_size",
        "extended_l2", "preallocation", "compression_type", "size", "compat", "backing_file", "backing_fmt",
        "data_file", "data_file_raw", "lazy_refcounts", "refcount_bits", "nocow", "extent_size_hint",
    ]
    /// Why no image of a format is made.
    public static func refusal(of format: String) -> String {
        RebaseRequest.formats.contains(format)
            ? "Format driver '\(format)' does not support image creation" : "Unknown file format '\(format)'"
    }

    static let rawKeys = ["size", "nocow", "preallocation", "extent_size_hint"]

    /// `format`, `backingFile` and `backingFormat` are `-f`, `-b` and `-F`; `size` the last operand.
    public init(
        path: String, format: String?, options: OptionList, backingFile: String? = nil, backingFormat: String? = nil,
        size: String? = nil, checksBacking: Bool = true
    ) throws(ImageError) {
        guard let kind = Kind(rawValue: format ?? "raw") else {
            throw ImageError("\(path): \(Self.refusal(of: format ?? ""))")
        }
        self.path = path
        self.kind = kind
        self.options = options
        self.checksBacking = checksBacking
        if let size { self.size = try Self.operand(size) }
        let keys = kind == .qcow2 ? Self.qcow2Keys : Self.rawKeys
        for (key, value) in options.pairs {
            guard keys.contains(key) || key == "backing_file" || key == "backing_fmt" else {
                throw ImageError("\(path): Invalid parameter '\(key)'")
            }
            try checkType(key, value)
        }
        if let size = options["size"] {
            guard self.size == nil else { throw ImageError("\(path): The image size must be specified only once") }
            self.size = try number(size, "size")
        }
        if let backingFile { self.options.set("backing_file", backingFile) }
        if let backingFormat { self.options.set("backing_fmt", backingFormat) }
        if kind == .raw {
            if self.backingFile != nil { throw unsupported("Backing file") }
            if self.backingFormat != nil { throw unsupported("Backing format") }
        }
        if self.backingFile == path {
            throw ImageError("\(path): Error: Trying to create an image with the same filename as the backing file")
        }
    }

    public var backingFile: String? { options["backing_file"].flatMap { $0.isEmpty ? nil : $0 } }
    public var backingFormat: String? { options["backing_fmt"].flatMap { $0.isEmpty ? nil : $0 } }

    /// What the file system is told of the image's file.
    public func fileAttributes() throws(ImageError) -> FileAttributes {
        var hint: UInt32?
        if let text = options["extent_size_hint"] {
            guard let bytes = UInt32(exactly: try number(text, "extent_size_hint")) else {
                throw ImageError("\(path): Extent size hint is too large")
            }
            hint = bytes
        }
        return FileAttributes(noCopyOnWrite: options["nocow"] == "on", extentSizeHint: hint)
    }

    /// What room a raw file has from the beginning.
    func rawPreallocation() throws(ImageError) -> Preallocation {
        let name = options["preallocation"] ?? "off"
        guard let preallocation = Preallocation(rawValue: name) else {
            throw ImageError("invalid parameter value: \(name)")
        }
        if preallocation == .metadata { throw ImageError("Unsupported preallocation mode: metadata") }
        return preallocation
    }

    private func unsupported(_ what: String) -> ImageError {
        ImageError("\(path): \(what) not supported for file format '\(kind.rawValue)'")
    }

    private static func operand(_ text: String) throws(ImageError) -> UInt64 {
        do { return try SizeText.parse(text) } catch .malformed {
            throw ImageError(
                """
                Invalid image size specified. You may use k, M, G, T, P or E suffixes for
                kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.
                """)
        } catch {
            throw ImageError("Invalid image size specified. Must be between 0 and \(Int64.max).")
        }
    }

    private func number(_ text: String, _ key: String) throws(ImageError) -> UInt64 {
        do { return try SizeText.parse(text) } catch {
            throw ImageError(
                """
                \(path): Parameter '\(key)' expects a non-negative number below 2^64
                Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
                and exabytes, respectively.
                """)
        }
    }

    private func checkType(_ key: String, _ value: String) throws(ImageError) {
        switch key {
        case "size", "cluster_size", "extent_size_hint": _ = try number(value, key)
        case "refcount_bits", "encrypt.iter-time":
            guard UInt64(value) != nil else { throw ImageError("\(path): Parameter '\(key)' expects a number") }
        case "lazy_refcounts", "extended_l2", "encryption", "data_file_raw", "nocow":
            guard value == "on" || value == "off" else {
                throw ImageError("\(path): Parameter '\(key)' expects 'on' or 'off'")
            }
        default: break
        }
    }

    /// The line that `create` prints, `size` being the size that the image gets.
    public func formattingLine(size: UInt64) -> String {
        var words = ["fmt=\(kind.rawValue)"]
        for key in kind == .qcow2 ? Self.qcow2Keys : Self.rawKeys {
            guard let value = key == "size" ? String(size) : shown(key) else { continue }
            words.append(
                "\(key)=\(value.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,"))")
        }
        return "Formatting '\(path)', \(words.joined(separator: " "))"
    }

    private func shown(_ key: String) -> String? {
        guard let value = options[key] else { return Self.defaults[key] }
        guard ["cluster_size", "extent_size_hint"].contains(key), let bytes = try? SizeText.parse(value) else {
            return value
        }
        return String(bytes)
    }

    private static let defaults = [
        "cluster_size": "65536", "extended_l2": "off", "compression_type": "zlib", "lazy_refcounts": "off",
        "refcount_bits": "16",
    ]
}
