import CDigests

/// The hashes that CHAP uses (RFC 1994, and IANA's "PPP authentication algorithms").
public enum Hash: Sendable, CaseIterable {
    case md5, sha1, sha256

    /// Bytes of a digest.
    public var byteCount: Int {
        switch self {
        case .md5: 16
        case .sha1: 20
        case .sha256: 32
        }
    }

    /// The digest of the parts, one behind the other; nil where the library refuses the hash (MD5 under FIPS rules).
    public func digest(_ parts: [UInt8]...) -> [UInt8]? {
        guard let context = unsafe EVP_MD_CTX_new() else { return nil }
        // Proof: made above, used on this frame only, freed once.
        defer { unsafe EVP_MD_CTX_free(context) }
        guard unsafe EVP_DigestInit_ex(context, algorithm, nil) == 1 else { return nil }
        for part in parts where !part.isEmpty {
            // Proof: the array's storage is valid for its count during the call.
            let isTaken = unsafe part.withUnsafeBytes {
                unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count)
            }
            guard isTaken == 1 else { return nil }
        }
        var result = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        // Proof: the result has the room that the library asks for, EVP_MAX_MD_SIZE.
        guard unsafe EVP_DigestFinal_ex(context, &result, &count) == 1, Int(count) == byteCount else { return nil }
        return Array(result.prefix(byteCount))
    }

    var algorithm: OpaquePointer? {
        // Proof: constants of the library, never freed.
        switch self {
        case .md5: unsafe EVP_md5()
        case .sha1: unsafe EVP_sha1()
        case .sha256: unsafe EVP_sha256()
        }
    }
}

/// Whether two secrets are equal, in a time that tells nothing but their lengths.
public func isEqualSecret(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    guard one.count == other.count else { return false }
    guard !one.isEmpty else { return true }
    // Proof: both arrays are valid for the count during the call.
    return unsafe one.withUnsafeBytes { first in
        unsafe other.withUnsafeBytes { second in
            unsafe CRYPTO_memcmp(first.baseAddress!, second.baseAddress!, first.count) == 0
        }
    }
}

/// Bytes that nobody can guess, from the system's generator; nil where it fails.
public func randomBytes(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    // Proof: the array has room for `count` bytes.
    guard unsafe RAND_bytes(&bytes, Int32(clamping: count)) == 1 else { return nil }
    return bytes
}
