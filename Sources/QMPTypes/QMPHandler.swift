public import JSON

/// What a monitor hands commands to. `QMPCommands` makes one of typed methods.
public protocol QMPHandler: AnyObject {
    /// Decodes the arguments, runs the command and encodes what it returns. Errors of arguments come before any effect.
    func call(
        _ command: String, _ arguments: JSONObject, from client: any QMPClient
    ) async throws(QMPError) -> JSONValue
    /// Every command there is, in the order of `query-commands`.
    var commandNames: [String] { get }
    /// A client has finished its negotiation.
    func clientCame(_ client: any QMPClient)
    /// It is gone, and what was kept for it may go.
    func clientLeft(_ client: any QMPClient)
}

extension QMPHandler {
    public func clientCame(_ client: any QMPClient) {}
    public func clientLeft(_ client: any QMPClient) {}
}

/// One connection to a monitor, as its commands see it.
public protocol QMPClient: AnyObject {
    /// The first of the descriptors that came with its commands and that nobody took yet; the caller owns it.
    func takeDescriptor() -> Int32?
}
