public import Block
public import NBDWire

/// What exports a server has, and what it tells of each (`qemu-nbd -L`).
public enum NBDExportList {
    /// Asks the server at the other end of `stream`, which is closed afterwards. In the server's order; those of which it
    /// tells only the name lack the flag `hasFlags`, and block sizes it does not tell are 0.
    public static func exports(over stream: any ByteStream, in context: any IOContext) async throws(OpenError)
        -> [NBDExportInfo]
    {
        try await NBDConnection(stream, in: context).shakeHands(.list, withinMs: NBDRemote.handshakeMs).exports
    }
}
