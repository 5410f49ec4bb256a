public import Graph

/// How the medium of a device is opened: what `blockdev-change-medium` starts from, remembered while the drive is empty
/// (qmp-semantics, blockdev-change-medium).
public struct RootState: Equatable, Sendable {
    public var isReadOnly: Bool
    /// `cache.direct` and `cache.no-flush`.
    public var direct = false
    public var noFlush = false
    public var discard = CommonOptions.Discard.ignore
    public var detectZeroes = CommonOptions.DetectZeroes.off

    public init(isReadOnly: Bool = false) { self.isReadOnly = isReadOnly }

    /// As a node is open now.
    init(_ options: CommonOptions) {
        isReadOnly = options.isReadOnly ?? false
        direct = options.direct ?? false
        noFlush = options.noFlush ?? false
        discard = options.discard ?? .ignore
        detectZeroes = options.detectZeroes ?? .off
    }

    /// A node is opened like this. Never read-only because writing is refused: that would hide the refusal.
    var options: CommonOptions {
        CommonOptions(
            isReadOnly: isReadOnly, autoReadOnly: false, discard: discard, detectZeroes: detectZeroes, direct: direct,
            noFlush: noFlush)
    }
}
