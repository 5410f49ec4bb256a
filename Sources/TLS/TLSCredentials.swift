public import Block
import CTLS

/// What one end of TLS connections shows of itself, and how it looks at the other. Used on one thread.
@safe
public final class TLSCredentials {
    public enum Endpoint: String, Sendable {
        case client, server

        var side: nacre_tls_side { self == .server ? nacre_tls_server : nacre_tls_client }
    }

    public let endpoint: Endpoint
    /// Protocols and ciphers, in GnuTLS's words.
    let priority: String
    /// Whether the other end's certificate must be one that is trusted, and the server's that of the host that was asked for. False
    /// where there are no certificates.
    public let verifiesPeer: Bool
    // Proof: made by the library, handed to its functions alone, and forgotten once, in deinit; sessions keep this object.
    let made: OpaquePointer

    /// A file of a kind that a folder of credentials has.
    fileprivate enum File: String {
        case authorities = "ca-cert.pem"
        case revoked = "ca-crl.pem"
        case serverCertificate = "server-cert.pem"
        case serverKey = "server-key.pem"
        case clientCertificate = "client-cert.pem"
        case clientKey = "client-key.pem"
        case sharedKeys = "keys.psk"
    }

    /// TLS 1.2 and later, by GnuTLS's words for it.
    private static let usual = "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"

    private init(
        _ endpoint: Endpoint, priority: String, verifiesPeer: Bool,
        _ make: (UnsafeMutablePointer<OpaquePointer?>) throws(OpenError) -> Void
    ) throws(OpenError) {
        self.endpoint = endpoint
        self.priority = priority
        self.verifiesPeer = verifiesPeer
        var made: OpaquePointer?
        // Proof: one local variable, for the call.
        unsafe try make(&made)
        guard let made = unsafe made else { throw OpenError("TLS credentials cannot be made") }
        unsafe self.made = made
    }

    // Proof: made by the library, and nobody else forgets it.
    deinit { unsafe nacre_tls_forget(made) }

    /// Certificates (`tls-creds-x509`) from a folder with files of QEMU's names: `ca-cert.pem`; `server-cert.pem` and
    /// `server-key.pem`, or `client-cert.pem` and `client-key.pem`, which a client need not have; and `ca-crl.pem` where something was
    /// revoked.
    public static func certificates(
        in folder: TLSFolder, for endpoint: Endpoint, verifiesPeer: Bool = true, password: String? = nil,
        priority: String? = nil
    ) throws(OpenError) -> TLSCredentials {
        try load()
        let isServer = endpoint == .server
        let authorities = try folder.path(File.authorities.rawValue)
        let revoked = try folder.pathIfThere(File.revoked.rawValue)
        let names: (File, File) = isServer ? (.serverCertificate, .serverKey) : (.clientCertificate, .clientKey)
        var own: (certificate: String, key: String)?
        let isIdentified = try folder.pathIfThere(names.0.rawValue) != nil
        if isServer || isIdentified {
            own = (try folder.path(names.0.rawValue), try folder.path(names.1.rawValue))
        }
        let made = unsafe try TLSCredentials(endpoint, priority: priority ?? usual, verifiesPeer: verifiesPeer) {
            (made) throws(OpenError) in
            // Proof: the library fills in what the caller lent.
            try check(unsafe nacre_tls_certificates(made), "Cannot allocate credentials")
        }
        // Proof: texts are lent for the calls.
        try check(
            unsafe nacre_tls_trust(made.made, authorities), "Cannot load CA certificate '\(folder.shown(.authorities))'"
        )
        if let own {
            try check(
                unsafe nacre_tls_identify(made.made, own.certificate, own.key, password),
                "Cannot load certificate '\(folder.shown(names.0))' & key '\(folder.shown(names.1))'")
        }
        if let revoked {
            try check(unsafe nacre_tls_revoke(made.made, revoked), "Cannot load CRL '\(folder.shown(.revoked))'")
        }
        return made
    }

    private static func check(_ code: Int32, _ failure: String) throws(OpenError) {
        guard code >= 0 else { throw OpenError("\(failure): \(text(code))") }
    }

    /// Pre-shared keys (`tls-creds-psk`) from the file `keys.psk` in a folder, a line `NAME:HEXADECIMAL` each. A client shows the key
    /// of `username`.
    public static func sharedKeys(
        in folder: TLSFolder, for endpoint: Endpoint, username: String = "qemu", priority: String? = nil
    ) throws(OpenError) -> TLSCredentials {
        try load()
        let path = try folder.path(File.sharedKeys.rawValue)
        let priority = priority ?? usual + ":+ECDHE-PSK:+DHE-PSK:+PSK"
        return unsafe try TLSCredentials(endpoint, priority: priority, verifiesPeer: false) {
            (made) throws(OpenError) in
            let code: Int32
            if endpoint == .server {
                // Proof: the text is lent for the call.
                code = unsafe nacre_tls_server_keys(made, path)
            } else {
                let key = try folder.sharedKey(of: username, in: File.sharedKeys.rawValue)
                // Proof: texts are lent for the call.
                code = unsafe nacre_tls_client_key(made, username, key, key.utf8.count)
            }
            try check(code, "Cannot load PSK file \(folder.shown(.sharedKeys))")
        }
    }

    /// None (`tls-creds-anon`): nobody can listen, and nobody knows with whom they speak.
    public static func anonymous(for endpoint: Endpoint, priority: String? = nil) throws(OpenError) -> TLSCredentials {
        // The kinds of key exchange without certificates end with TLS 1.2.
        unsafe try TLSCredentials(endpoint, priority: priority ?? usual + ":+ANON-ECDH:+ANON-DH", verifiesPeer: false) {
            (made) throws(OpenError) in
            try load()
            // Proof: the library fills in what the caller lent.
            try check(unsafe nacre_tls_anonymous(made, endpoint.side), "Cannot allocate credentials")
        }
    }

    /// Throws where the library is not there.
    static func load() throws(OpenError) {
        guard nacre_tls_load() != 0 else { throw OpenError("TLS cannot be had: libgnutls.so.30 is not there") }
    }

    /// What a code of the library means.
    static func text(_ code: Int32) -> String {
        // Proof: the library's texts are constants.
        unsafe String(cString: nacre_tls_text(code))
    }
}

extension TLSFolder {
    /// A file's path as messages have it.
    fileprivate func shown(_ file: TLSCredentials.File) -> String { "\(name)/\(file.rawValue)" }
}
