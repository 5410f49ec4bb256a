/// Why a request on a block device failed: a dozen kinds, each with one errno. No text and no allocation; whoever began
/// the operation adds node, path and offset. Mapped to NBD errors and to QMP text in one table each.
public enum BlockError: Error, Equatable, Hashable, Sendable {
    /// The device failed (EIO).
    case io
    /// No room on the host, or none left in the image (ENOSPC).
    case noSpace
    /// The node, the image or the file is read-only (EROFS).
    case readOnly
    /// The request passes the end of the device (EINVAL; writes over NBD answer ENOSPC).
    case outOfRange
    /// The request is malformed: misaligned, too large, a bad flag (EINVAL).
    case invalid
    /// The device cannot do this at all, or not fast (ENOTSUP).
    case unsupported
    /// The image's metadata contradicts itself (EIO); the node says what and where in its corruption report.
    case corrupt
    /// An earlier failure left the outcome of a metadata write or a flush unknown: reads go on, writes do not (EIO).
    case fenced
    /// There is no medium (ENOMEDIUM).
    case noMedium
    /// The host refused access (EACCES).
    case permission
    /// Locked by someone else (EAGAIN).
    case busy
    /// The peer or the node went away while the request was under way (ESHUTDOWN).
    case closed
    /// A stated limit would be passed (ENOMEM).
    case limit
    /// Any other host error, by its errno.
    case system(Int32)

    /// The Linux errno that stands for the error.
    public var errno: Int32 {
        switch self {
        case .io, .corrupt, .fenced: 5
        case .noSpace: 28
        case .readOnly: 30
        case .outOfRange, .invalid: 22
        case .unsupported: 95
        case .noMedium: 123
        case .permission: 13
        case .busy: 11
        case .closed: 108
        case .limit: 12
        case .system(let code): code
        }
    }

    /// The kind for a host errno (positive).
    public init(errno: Int32) {
        switch errno {
        case 5: self = .io
        case 28: self = .noSpace
        case 30: self = .readOnly
        case 22: self = .invalid
        case 95, 38: self = .unsupported
        case 123: self = .noMedium
        case 13, 1: self = .permission
        case 11: self = .busy
        case 12: self = .limit
        default: self = .system(errno)
        }
    }
}

/// Why a node could not be opened, created or changed: a sentence for a person, in QEMU's words where QEMU has them.
/// Cold paths only; the data path throws `BlockError`.
public struct OpenError: Error, Equatable, Sendable {
    public let message: String
    /// What lies behind it, for callers that decide by kind (a permission error may fall back to read-only).
    public let cause: BlockError?
    /// What a person at a command line is told beneath it: lines of their own. Clients of a protocol are not.
    public let hint: String?

    public init(_ message: String, cause: BlockError? = nil, hint: String? = nil) {
        self.message = message
        self.cause = cause
        self.hint = hint
    }

    /// The same, as part of what was to be done: `Could not open backing file: …`.
    public func within(_ task: String) -> OpenError { OpenError("\(task): \(message)", cause: cause, hint: hint) }

    /// The message and what a person is told beneath it.
    public var text: String { message + (hint.map { "\n" + $0 } ?? "") }
}
