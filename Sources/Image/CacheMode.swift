/// How the host's page cache and its flushes are used: the words of `-t` and `-T`.
public enum CacheMode: Sendable {
    /// Past the page cache; flushes reach the disk.
    case direct
    /// Through the page cache; flushes reach the disk.
    case writeback
    /// Through the page cache; what is written is durable.
    case writethrough
    /// Past the page cache; what is written is durable.
    case directsync
    /// Through the page cache; nothing waits for the disk.
    case unflushed

    /// Nil for a word that is none of them.
    public init?(word: String) {
        switch word {
        case "none", "off": self = .direct
        case "writeback": self = .writeback
        case "writethrough": self = .writethrough
        case "directsync": self = .directsync
        case "unsafe": self = .unflushed
        default: return nil
        }
    }

    public var isDirect: Bool { self == .direct || self == .directsync }
}
