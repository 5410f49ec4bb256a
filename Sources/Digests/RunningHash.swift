import CDigests

/// A digest of bytes that come piece by piece. Confined to one thread.
@safe
public final class RunningHash {
    // Proof: made here, handed to no one, freed once, in deinit.
    private let hashing: OpaquePointer
    private let hash: Hash
    private var isSound = true

    /// Nil where the library is not there or refuses the hash (MD5 under FIPS rules).
    public init?(_ hash: Hash) {
        guard let hashing = unsafe nacre_hash_begin(hash.number) else { return nil }
        self.hash = hash
        unsafe self.hashing = hashing
    }

    deinit { unsafe nacre_hash_free(hashing) }

    public func add(_ bytes: RawSpan) {
        // Proof: the memory is valid for its count during the call.
        let isTaken = unsafe bytes.withUnsafeBytes {
            unsafe nacre_hash_add(hashing, $0.baseAddress, $0.count)
        }
        if isTaken == 0 { isSound = false }
    }

    /// The digest of all that came; nil where the library failed. Nothing may come afterwards.
    public func digest() -> [UInt8]? {
        var result = [UInt8](repeating: 0, count: Int(NACRE_LONGEST_DIGEST))
        // Proof: the result has the room that is asked for.
        let count = unsafe nacre_hash_finish(hashing, &result)
        return isSound && count == hash.byteCount ? Array(result.prefix(count)) : nil
    }

    /// The same in hexadecimal digits.
    public func hexadecimal() -> String? {
        digest().map { $0.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
    }
}
