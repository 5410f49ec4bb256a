import Bytes
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

    /// The digest of the parts, one behind the other; nil where the library is not there or refuses the hash.
    public func digest(_ parts: [UInt8]...) -> [UInt8]? {
        guard let running = RunningHash(self) else { return nil }
        for part in parts { running.add(part.byteSpan) }
        return running.digest()
    }

    var number: nacre_hash {
        switch self {
        case .md5: nacre_md5
        case .sha1: nacre_sha1
        case .sha256: nacre_sha256
        }
    }
}

/// Whether two secrets are equal, in a time that tells nothing but their lengths: every byte is looked at, and nothing
/// branches on what it is.
@inline(never)
public func isEqualSecret(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    guard one.count == other.count else { return false }
    var difference: UInt8 = 0
    for index in one.indices { difference |= one[index] ^ other[index] }
    return difference == 0
}

/// Bytes that nobody can guess, at most 256, from the kernel's generator; nil where it fails.
public func randomBytes(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    // Proof: the array has room for `count` bytes.
    return unsafe nacre_random_bytes(&bytes, count) == 0 ? bytes : nil
}
