/// What a command answers when it fails: a class for programs, a sentence for people.
public struct QMPError: Error, Equatable, Sendable {
    /// All classes there are; nearly everything is `GenericError`.
    public enum Class: String, Sendable {
        case genericError = "GenericError"
        case commandNotFound = "CommandNotFound"
        case deviceNotActive = "DeviceNotActive"
        case deviceNotFound = "DeviceNotFound"
        case kvmMissingCap = "KVMMissingCap"
    }

    public let errorClass: Class
    public let message: String
    /// What a person is told beneath it, where there is one: not part of the protocol.
    public let hint: String?

    public init(_ message: String, class errorClass: Class = .genericError, hint: String? = nil) {
        self.errorClass = errorClass
        self.message = message
        self.hint = hint
    }

    /// The message and what a person is told beneath it.
    public var text: String { message + (hint.map { "\n" + $0 } ?? "") }
}
