public import Block
import Bytes
import CTLS

/// A connection that begins in the clear and goes on under TLS once `secure` has been called (RFC 8446, RFC 5246). What lies below
/// carries records.
@safe
public final class TLSStream: SecurableStream {
    private let below: any ByteStream
    private let credentials: TLSCredentials
    private let hostname: String?
    private let isAllowed: ((String) -> Bool)?

    // Proof: begun in `secure`, used on one thread by one call at a time, ended once, in deinit.
    private var session: OpaquePointer?
    private var incoming = RecordWindow()

    /// Bytes that are encrypted at a time.
    private static let piece = 32 << 10

    /// What came in, and twice what goes out at a time: one part is sent while another is encrypted.
    public var memory: Int { RecordWindow.room + 2 * (40 << 10) }

    /// A server's end. `isAllowed` is asked for the name in the client's certificate, whose parts stand in its order.
    public init(
        _ below: any ByteStream, serverOf credentials: TLSCredentials, isAllowed: ((String) -> Bool)? = nil
    ) {
        self.below = below
        self.credentials = credentials
        self.isAllowed = isAllowed
        hostname = nil
    }

    /// A client's end. `hostname` is whom the server's certificate must be for.
    public init(_ below: any ByteStream, clientOf credentials: TLSCredentials, hostname: String?) {
        self.below = below
        self.credentials = credentials
        self.hostname = hostname
        isAllowed = nil
    }

    // Proof: begun once, and nobody else ends it.
    deinit { if let session = unsafe session { unsafe nacre_tls_end(session) } }

    public var localAddress: String? { below.localAddress }
    public func takeDescriptor() -> Int32? { below.takeDescriptor() }

    // MARK: The handshake

    public func secure() async throws(OpenError) {
        guard unsafe session == nil else { throw OpenError("TLS handshake failed: it has begun already") }
        var begun: OpaquePointer?
        let asks = credentials.endpoint == .server && credentials.verifiesPeer
        // Proof: a local variable and texts that are lent for the call; the credentials live as long as this.
        let code = unsafe nacre_tls_begin(
            &begun, credentials.made, credentials.endpoint.side, credentials.priority, asks ? 1 : 0, hostname)
        guard code >= 0, let session = unsafe begun else {
            throw OpenError("Unable to set TLS session priority \(credentials.priority): \(TLSCredentials.text(code))")
        }
        unsafe self.session = session
        while true {
            let code = shakeHands()
            do throws(BlockError) { try await sendWhatIsDue() } catch {
                throw OpenError("TLS handshake failed: \(error.sentence)", cause: error)
            }
            if code == 0 { break }
            guard code > 0 else { throw OpenError("TLS handshake failed: \(TLSCredentials.text(code))") }
            do throws(BlockError) {
                guard try await incoming.receive(from: below) else { throw .closed }
            } catch {
                throw OpenError("TLS handshake failed: The TLS connection was non-properly terminated.", cause: error)
            }
        }
        try verify()
    }

    private func shakeHands() -> Int32 {
        unsafe incoming.lend { (bytes, rest) in unsafe nacre_tls_shake_hands(session, bytes, rest) }
    }

    /// Sees whether the other end is who it has to be.
    private func verify() throws(OpenError) {
        guard credentials.verifiesPeer else { return }
        // Proof: the text is lent for the call.
        let reasons = unsafe nacre_tls_verify(session, hostname)
        if reasons < 0 { throw OpenError("Verify failed: \(TLSCredentials.text(reasons))") }
        // In QEMU's order of importance, which has no words for the times.
        let known = [
            (nacre_tls_weak, "The certificate uses an insecure algorithm"),
            (nacre_tls_revoked, "The certificate has been revoked"),
            (nacre_tls_unknown_authority, "The certificate hasn't got a known issuer"),
            (nacre_tls_expired, "The certificate has expired"),
            (nacre_tls_not_yet, "The certificate is not yet activated"),
            (nacre_tls_other_host, "Certificate does not match the hostname \(hostname ?? "")"),
            (nacre_tls_invalid, "The certificate is not trusted"),
        ]
        for (reason, text) in known where reasons & Int32(reason) != 0 { throw OpenError(text) }
        if credentials.endpoint == .client, hostname == nil {
            throw OpenError("No hostname for certificate validation")
        }
        guard let isAllowed else { return }
        var name = [CChar](repeating: 0, count: 1024)
        // Proof: the array has room for its count.
        let count = unsafe name.withUnsafeMutableBufferPointer {
            unsafe nacre_tls_name(session, $0.baseAddress, $0.count)
        }
        let bytes = name.prefix(count).map { UInt8(bitPattern: $0) }
        // A name that is no text is nobody's.
        guard let text = String(validating: bytes, as: UTF8.self), count > 0, isAllowed(text) else {
            throw OpenError("TLS x509 authz check for \(String(decoding: bytes, as: UTF8.self)) is denied")
        }
    }

    // MARK: What comes in

    public func receive(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int {
        guard unsafe session != nil else { return try await below.receive(into: &buffer) }
        while true {
            let count = read(into: &buffer)
            if count != nacre_tls_more {
                // What the library wants to answer, to new keys of the other end, is due with what is sent next (RFC 8446, section 4.6.3):
                // sending it here would wait for a peer that may wait for us. Whoever leaves without a good-bye has left.
                return max(count, 0)
            }
            guard try await incoming.receive(from: below) else { return 0 }
        }
    }

    private func read(into buffer: inout MutableRawSpan) -> Int {
        // Proof: the span is valid for its count during the call.
        unsafe buffer.withUnsafeMutableBytes { target in
            unsafe incoming.lend { (bytes, rest) in
                unsafe nacre_tls_read(session, bytes, rest, target.baseAddress, target.count)
            }
        }
    }

    // MARK: What goes out

    public func send(_ bytes: RawSpan) async throws(BlockError) {
        guard unsafe session != nil else { return try await below.send(bytes) }
        var done = 0
        while done < bytes.byteCount {
            let part = bytes.extracting(done..<min(done + Self.piece, bytes.byteCount))
            try write(part)
            done += part.byteCount
            try await sendWhatIsDue()
        }
    }

    public func send(_ first: RawSpan, _ second: RawSpan) async throws(BlockError) {
        guard unsafe session != nil else { return try await below.send(first, second) }
        // A head and what it is of go out together.
        guard first.byteCount <= 4096 else {
            try await send(first)
            return try await send(second)
        }
        try write(first)
        if second.byteCount > 0 { try await send(second) } else { try await sendWhatIsDue() }
    }

    private func write(_ bytes: RawSpan) throws(BlockError) {
        // Proof: the span is valid for its count during the call.
        let code = unsafe bytes.withUnsafeBytes { unsafe nacre_tls_write(session, $0.baseAddress, $0.count) }
        if code < 0 { throw .io }
    }

    private func sendWhatIsDue() async throws(BlockError) {
        var count = 0
        // Proof: what was taken stays where it is until the next is taken, and one task sends at a time.
        guard let taken = unsafe nacre_tls_take(session, &count), count > 0 else { return }
        let bytes = unsafe UnsafeRawBufferPointer(start: taken, count: count)
        try await below.send(unsafe bytes.bytes)
    }

    public func close() { below.close() }
}
