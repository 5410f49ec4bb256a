public import Graph

/// How the medium of a device is opened: remembered from the last one, and what `blockdev-change-medium` starts from
/// (qmp-semantics, blockdev-change-medium).
public struct RootState: Equatable, Sendable {
    public var isReadOnly: Bool
    /// `cache.direct` and `cache.no-flush`.
    public var direct = false
    public var noFlush = false
    public var discard = CommonOptions.Discard.ignore
    public var detectZeroes = CommonOptions.DetectZeroes.off

    public init(isReadOnly: Bool = false) { self.isReadOnly = isReadOnly }
}
