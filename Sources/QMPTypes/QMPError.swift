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

    public init(_ message: String, class errorClass: Class = .genericError) {
        self.errorClass = errorClass
        self.message = message
    }
}
