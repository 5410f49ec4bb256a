import Synchronization

/// The memory that dirty bitmaps share: what all bitmaps of a graph, loaded or new, hold stays within it.
///
/// What would not fit is refused before it is taken. A bitmap gives back its part when it goes, or needs it no more.
public final class BitmapMemory: Sendable {
    /// Bytes for all bitmaps of a graph: 2^30 granules with clean and dirty ones everywhere, or 64 TiB of disk at 64 KiB a
    /// granule.
    public static let defaultLimit: UInt64 = 256 << 20

    public let limit: UInt64
    private let taken = Atomic<UInt64>(0)
    public var used: UInt64 { taken.load(ordering: .relaxed) }

    public init(limit: UInt64 = BitmapMemory.defaultLimit) { self.limit = limit }

    /// Takes so many bytes, or answers false and takes nothing.
    func take(_ bytes: UInt64) -> Bool {
        var seen = used
        while bytes <= limit - seen {
            let (isDone, now) = taken.weakCompareExchange(expected: seen, desired: seen + bytes, ordering: .relaxed)
            if isDone { return true }
            seen = now
        }
        return false
    }

    func give(_ bytes: UInt64) { taken.wrappingSubtract(bytes, ordering: .relaxed) }
}
