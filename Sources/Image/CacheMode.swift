/// How a disk is cached, by the names that QEMU's tools have for it (`-t`, `-T`).
public enum CacheMode: String, Sendable, CaseIterable {
    case none, writeback, writethrough, directsync
    case unflushed = "unsafe"

    /// Reads a name; `off` is an old one of `none`.
    public init?(_ name: String) {
        guard let mode = name == "off" ? CacheMode.none : CacheMode(rawValue: name) else { return nil }
        self = mode
    }

    /// Past the host's page cache.
    public var isDirect: Bool { self == .none || self == .directsync }
    /// Every write is durable when it ends.
    public var writesThrough: Bool { self == .writethrough || self == .directsync }
    /// Flushes are not passed to the host.
    public var ignoresFlushes: Bool { self == .unflushed }
}
