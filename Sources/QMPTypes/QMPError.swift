/// What a command answers when it fails: a class that programs may look at, and words for people.
public struct QMPError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The whole set of classes that QMP has. Almost everything is a `genericError`.
    public enum Class: String, Sendable, CaseIterable {
        case genericError = "GenericError"
        case commandNotFound = "CommandNotFound"
        case deviceNotActive = "DeviceNotActive"
        case deviceNotFound = "DeviceNotFound"
        case kvmMissingCap = "KVMMissingCap"
    }

    public let errorClass: Class
    /// The words. Clients compare them, so they are QEMU's.
    public let description: String

    public init(_ description: String, class errorClass: Class = .genericError) {
        self.errorClass = errorClass
        self.description = description
    }
}

extension QMPError {
    static func missing(_ path: String) -> QMPError { QMPError("Parameter '\(path)' is missing") }
    static func unexpected(_ path: String) -> QMPError { QMPError("Parameter '\(path)' is unexpected") }
    static func type(_ path: String, expected: String) -> QMPError {
        QMPError("Invalid parameter type for '\(path)', expected: \(expected)")
    }
    static func value(_ name: String, expects: String) -> QMPError {
        QMPError("Parameter '\(name)' expects \(expects)")
    }
    static func notAccepted(_ name: String, value: String) -> QMPError {
        QMPError("Parameter '\(name)' does not accept value '\(value)'")
    }
}
