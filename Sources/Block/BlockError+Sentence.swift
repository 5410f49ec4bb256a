extension BlockError {
    /// As the C library words its errno, which is how QEMU tells it.
    public var sentence: String {
        switch self {
        case .io, .corrupt, .fenced: "Input/output error"
        case .noSpace: "No space left on device"
        case .readOnly: "Read-only file system"
        case .outOfRange, .invalid: "Invalid argument"
        case .unsupported: "Operation not supported"
        case .noMedium: "No medium found"
        case .permission: "Permission denied"
        case .busy: "Resource temporarily unavailable"
        case .closed: "Cannot send after transport endpoint shutdown"
        case .limit: "Cannot allocate memory"
        case .system(1): "Operation not permitted"
        case .system(27): "File too large"
        case .system(let code): "error \(code)"
        }
    }
}
