public import JSON

/// What a monitor hands commands to. `QMPCommands` makes one of typed methods.
public protocol QMPHandler: AnyObject {
    /// Decodes the arguments, runs the command and encodes what it returns. Errors of arguments come before any effect.
    func call(_ command: String, _ arguments: JSONObject) async throws(QMPError) -> JSONValue
    /// Every command there is, in the order of `query-commands`.
    var commandNames: [String] { get }
}
