/// How the host's page cache and its flushes are used, by the names that QEMU's tools have for it (`-t`, `-T`).
public enum CacheMode: String, Sendable, CaseIterable {
    /// Past the page cache; flushes reach the disk.
    case direct = "none"
    /// Through the page cache; flushes reach the disk.
    case writeback
    /// Through the page cache; every write is durable when it ends.
    case writethrough
    /// Past the page cache; every write is durable when it ends.
    case directsync
    /// Through the page cache; nothing waits for the disk.
    case unflushed = "unsafe"

    /// Nil for a word that is none of them; `off` is an old one of `none`.
    public init?(word: String) {
        guard let mode = word == "off" ? .direct : CacheMode(rawValue: word) else { return nil }
        self = mode
    }

    public var isDirect: Bool { self == .direct || self == .directsync }
    /// Every write is durable when it ends.
    public var writesThrough: Bool { self == .writethrough || self == .directsync }
    /// Flushes are not passed to the host.
    public var ignoresFlushes: Bool { self == .unflushed }
}
