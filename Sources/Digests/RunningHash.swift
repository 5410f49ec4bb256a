import CDigests

/// A digest of bytes that come piece by piece. Confined to one thread.
@safe
public final class RunningHash {
    // Proof: made here, handed to no one, freed once, in deinit.
    private let context: OpaquePointer
    private let hash: Hash

    /// Nil where the library refuses the hash.
    public init?(_ hash: Hash) {
        guard let context = unsafe EVP_MD_CTX_new() else { return nil }
        self.hash = hash
        unsafe self.context = context
        // Proof: the context is fresh and the algorithm a constant of the library.
        guard unsafe EVP_DigestInit_ex(context, hash.algorithm, nil) == 1 else { return nil }
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    public func add(_ bytes: RawSpan) {
        // Proof: the memory is valid for its count during the call.
        unsafe bytes.withUnsafeBytes { _ = unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
    }

    /// The digest of all that came, in hexadecimal. Nothing may come afterwards.
    public func finish() -> String {
        var result = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        // Proof: the result has the room that the library asks for, EVP_MAX_MD_SIZE.
        _ = unsafe EVP_DigestFinal_ex(context, &result, &count)
        return result.prefix(hash.byteCount).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
