import Bytes

/// A connection that carries bytes both ways: a socket, a pipe pair, a simulated wire. One task receives and one sends
/// at a time; both may be under way at once.
public protocol ByteStream: AnyObject {
    /// Waits for bytes and stores what there is, at most the buffer's length. Answers how many; 0 is the end of the
    /// stream. `closed` after `close`.
    func receive(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int
    /// Sends all of `bytes`. Throws `closed` where the peer is gone.
    func send(_ bytes: RawSpan) async throws(BlockError)
    /// Sends `first`, then `second`, gathered into one call where the stream can.
    func send(_ first: RawSpan, _ second: RawSpan) async throws(BlockError)
    /// The first descriptor that the peer passed and nobody took yet; the caller owns it. None but over a unix socket.
    func takeDescriptor() -> Int32?
    /// Where the peer reached us, `host:port` in numbers; nil where that means nothing.
    var localAddress: String? { get }
    /// Ends the connection: what waits in `receive` or `send` fails with `closed`. Idempotent.
    func close()
}

extension ByteStream {
    public func takeDescriptor() -> Int32? { nil }
    public var localAddress: String? { nil }

    public func send(_ first: RawSpan, _ second: RawSpan) async throws(BlockError) {
        try await send(first)
        try await send(second)
    }
}

/// A stream that begins in the clear, and is private from a moment on that both ends agree on. Whoever is given one must have it
/// so, and whatever is put around one must be one too.
public protocol SecurableStream: ByteStream {
    /// Bytes that it holds once it is private; whoever bounds memory charges them before.
    var memory: Int { get }
    /// Makes it so, as this end's credentials say, and sees who is at the other end. Nothing else is received or sent meanwhile.
    /// Errors say why not, in QEMU's words: `TLS handshake failed: …`.
    func secure() async throws(OpenError)
}
