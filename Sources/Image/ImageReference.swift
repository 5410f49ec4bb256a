import Block
public import Graph

/// An image as a user names it, and how it shall be opened. What stands inside an image never becomes one of these but as
/// a plain file name (`BackingName`).
public struct ImageReference: Equatable, Sendable {
    public enum Place: Equatable, Sendable {
        /// A host file or device.
        case file(String)
        /// A node that holds the image's bytes: a protocol (`nbd://…`), or options without a format.
        case storage(NodeOptions)
        /// A node with all that is said of it: `json:{…}`, `--image-opts`.
        case node(NodeOptions)
    }

    public var place: Place
    /// As the user wrote it; messages name it so.
    public var text: String
    /// Nil: the first bytes tell it.
    public var format: String?
    /// Whether others may write to it meanwhile (`-U`).
    public var forceShare: Bool
    public var cache: CacheMode

    public init(
        _ place: Place, text: String, format: String? = nil, forceShare: Bool = false,
        cache: CacheMode = .writeback
    ) {
        self.place = place
        self.text = text
        self.format = format
        self.forceShare = forceShare
        self.cache = cache
    }

    /// A file, by its plain name.
    public init(
        _ path: String, format: String? = nil, forceShare: Bool = false, cache: CacheMode = .writeback
    ) {
        self.init(.file(path), text: path, format: format, forceShare: forceShare, cache: cache)
    }

    /// Whether nothing says what the bytes are.
    public var isFormatUnknown: Bool {
        if case .node = place { return false }
        return format == nil
    }

    /// The node that holds the bytes and the kind that they are of, taken apart where all is said of a format; nil: the
    /// bytes tell it.
    func parts(isDevice: (String) -> Bool) throws(OpenError) -> (storage: NodeOptions, kind: ImageKind?) {
        switch place {
        case .file(let path):
            let own = FileDriverOptions(filename: path)
            let kind = try format.map { (name) throws(OpenError) in try ImageKind(name) }
            return (NodeOptions(isDevice(path) ? .hostDevice(own) : .file(own)), kind)
        case .storage(let options):
            return (options, try format.map { (name) throws(OpenError) in try ImageKind(name) })
        case .node(let options):
            switch options.driver {
            case .qcow2(let own):
                guard case .options(let file) = own.file else { break }
                return (file.inheriting(options.common), .qcow2)
            case .raw(let own) where own.offset == nil && own.size == nil:
                guard case .options(let file) = own.file else { break }
                return (file.inheriting(options.common), .plain("raw"))
            default: break
            }
            return (options, .plain(options.driver.name))
        }
    }

    /// What a node that is opened for it shall have, where it does not say itself.
    func common(isWritable: Bool) -> CommonOptions {
        CommonOptions(
            isReadOnly: !isWritable, forceShare: forceShare, discard: isWritable ? .unmap : nil, direct: cache.isDirect,
            noFlush: cache.ignoresFlushes)
    }
}

extension NodeOptions {
    /// With what `common` says where this says nothing.
    func inheriting(_ above: CommonOptions) -> NodeOptions {
        var result = self
        result.common.isReadOnly = common.isReadOnly ?? above.isReadOnly
        result.common.autoReadOnly = common.autoReadOnly ?? above.autoReadOnly
        result.common.forceShare = common.forceShare ?? above.forceShare
        result.common.discard = common.discard ?? above.discard
        result.common.direct = common.direct ?? above.direct
        result.common.noFlush = common.noFlush ?? above.noFlush
        return result
    }
}
