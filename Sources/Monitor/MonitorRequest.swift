import JSON
import QMPTypes

/// A request taken apart; checked in the order of its members on the wire, as QEMU does.
struct MonitorRequest {
    let command: String
    let arguments: JSONObject
    let isOutOfBand: Bool

    /// `allowsOOB` says whether the client has switched `exec-oob` on.
    init(_ value: JSONValue, allowsOOB: Bool) throws(QMPError) {
        guard let object = value.object else { throw QMPError("QMP input must be a JSON object") }
        var command: (key: String, name: String)?
        var arguments = JSONObject()
        for (name, value) in object.inWireOrder {
            switch name {
            case "execute", "exec-oob":
                guard name == "execute" || allowsOOB else { throw Self.unexpected(name) }
                guard let text = value.string else {
                    throw QMPError("QMP input member '\(name)' must be a string")
                }
                if let other = command {
                    throw QMPError("QMP input member '\(name)' clashes with '\(other.key)'")
                }
                command = (name, text)
            case "arguments":
                guard let members = value.object else {
                    throw QMPError("QMP input member 'arguments' must be an object")
                }
                arguments = members
            case "id": break
            default: throw Self.unexpected(name)
            }
        }
        guard let command else { throw QMPError("QMP input lacks member 'execute'") }
        self.command = command.name
        self.arguments = arguments
        isOutOfBand = command.key == "exec-oob"
    }

    private static func unexpected(_ name: String) -> QMPError {
        QMPError("QMP input member '\(name)' is unexpected")
    }

    /// Whether a message asks to be carried out at once, before it is looked at any closer.
    static func isOutOfBand(_ message: Result<JSONValue, JSONError>) -> Bool {
        guard case .success(let value) = message else { return false }
        return value["exec-oob"] != nil && value["execute"] == nil
    }
}
