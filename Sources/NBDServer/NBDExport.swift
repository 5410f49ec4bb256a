public import Block
import Bytes
public import DirtyMap
public import NBDWire

/// What clients may do with an export. A drive's depends on its medium: without one there is nothing to do.
public enum NBDAccess: Sendable {
    case none, read, write
}

/// A disk under a name that clients connect to.
public final class NBDExport {
    /// The name in the management protocol.
    public let id: String
    /// The name on the wire.
    public let name: String
    public let description: String?
    public let storage: any Storage
    /// What clients may do now. While it is `none` nobody can choose the export, and requests of those who had fail as
    /// its storage lets them.
    public var access: () -> NBDAccess
    /// What its clients' requests run on, where that is not the server's thread.
    public var executor: (any TaskExecutor)?
    /// Counts media: a client that was told of an earlier one is not let in.
    var medium: UInt64 = 0
    /// Every write is durable before it is answered (`writethrough`).
    public let isWritethrough: Bool
    /// Whether several connections see each other's flushed writes.
    public let isMultiConn: Bool
    public let offersDepth: Bool
    /// Dirty bitmaps that clients may look at, laid aside by whoever made the export.
    public let bitmaps: [DirtyBitmap]
    /// Names of the meta contexts, in the order of their ids; those of `bitmaps` come last.
    let contexts: [String]
    /// Told of each failed request: what was asked, and why it failed.
    public var onFailure: ((_ isWrite: Bool, _ error: BlockError) -> Void)?

    public init(
        id: String, name: String, description: String? = nil, storage: any Storage, isWritable: Bool,
        isWritethrough: Bool = false, isMultiConn: Bool = true, bitmaps: [DirtyBitmap] = [],
        offersDepth: Bool = false
    ) {
        self.id = id
        self.name = name
        self.description = description
        self.storage = storage
        access = { isWritable ? .write : .read }
        self.isWritethrough = isWritethrough
        self.isMultiConn = isMultiConn
        self.offersDepth = offersDepth
        self.bitmaps = bitmaps
        contexts =
            [Self.allocationContext] + (offersDepth ? [Self.depthContext] : [])
            + bitmaps.map { Self.bitmapContext + ($0.name ?? "") }
    }

    public var isWritable: Bool { access() == .write }

    public static let allocationContext = "base:allocation"
    public static let depthContext = "qemu:allocation-depth"
    /// With the bitmap's name behind it.
    public static let bitmapContext = "qemu:dirty-bitmap:"

    /// The bitmap that a context shows; nil for the others.
    func bitmap(of context: Int) -> DirtyBitmap? {
        let first = contexts.count - bitmaps.count
        return context < first ? nil : bitmaps[context - first]
    }

    /// What a client is told while it negotiates.
    public var info: NBDExportInfo {
        var flags: NBDTransmissionFlags = [.hasFlags, .sendFlush, .sendFUA, .sendDF, .sendCache]
        if isWritable {
            flags.formUnion([.sendTrim, .sendWriteZeroes, .sendFastZero])
        } else {
            flags.insert(.readOnly)
        }
        if isMultiConn { flags.insert(.canMultiConn) }
        let limits = storage.limits
        return NBDExportInfo(
            name: name, description: description, size: storage.length, flags: flags,
            minimumBlock: UInt32(clamping: limits.requestAlignment),
            preferredBlock: Self.preferredBlock(limits),
            contexts: contexts)
    }

    /// A power of two, at least the minimum and at most what one request may carry, as the protocol demands.
    private static func preferredBlock(_ limits: StorageLimits) -> UInt32 {
        let wanted = min(max(4096, limits.preferredTransfer, limits.requestAlignment), UInt64(NBDLimits.payload))
        return 1 << UInt32(63 - wanted.leadingZeroBitCount)
    }
}

extension NBDError {
    /// The wire's error for one of ours: the one table.
    init(_ error: BlockError) {
        switch error {
        case .noSpace: self = .noSpace
        case .readOnly, .permission: self = .permission
        case .outOfRange, .invalid: self = .invalid
        case .unsupported: self = .unsupported
        case .limit: self = .noMemory
        case .closed: self = .shutdown
        case .io, .corrupt, .fenced, .noMedium, .busy, .system: self = .io
        }
    }
}
