public import Block

/// Why a command on a device failed, in QEMU's words.
public struct DeviceError: Error, Equatable, Sendable {
    public enum Kind: Sendable {
        /// Class `GenericError`.
        case generic
        /// Class `DeviceNotFound`.
        case notFound
    }

    public let kind: Kind
    public let message: String
    /// What lies behind it, where a request failed.
    public let cause: BlockError?

    public init(_ message: String, cause: BlockError? = nil) {
        kind = .generic
        self.message = message
        self.cause = cause
    }

    init(_ error: OpenError) { self.init(error.message, cause: error.cause) }

    private init(notFound name: String) {
        kind = .notFound
        message = "Device '\(name)' not found"
        cause = nil
    }

    static func notFound(_ name: String) -> DeviceError { DeviceError(notFound: name) }
}
