public import Block

/// A bitmap of a node, as management knows it: a name, what it may be used for, and the granules.
///
/// Texts of refusals are QEMU 7.2's.
public final class DirtyBitmap {
    /// Bytes of a name, as in qcow2.
    public static let longestName = 1023

    /// What users of the management protocol call it; nil for one that a job made for itself.
    public let name: String?
    public let granularityBits: Int
    /// The granules. An inconsistent bitmap has none.
    public private(set) var map: DirtyMap?
    /// Whether changes are recorded.
    public internal(set) var isEnabled: Bool
    /// Whether the image keeps it.
    public let isPersistent: Bool
    /// Its image cannot be written: it can be read and merged from, and nothing else.
    public internal(set) var isReadOnly = false
    /// How many jobs and exports use it.
    public private(set) var users = 0

    /// A clean bitmap over `map`; nil for one whose bits are not to be trusted, which can only be removed.
    public init(name: String?, map: DirtyMap?, granularityBits: Int, isEnabled: Bool, isPersistent: Bool) {
        self.name = name
        self.map = map
        self.granularityBits = granularityBits
        self.isEnabled = isEnabled
        self.isPersistent = isPersistent
    }

    public var isBusy: Bool { users > 0 }
    /// The image was not closed by whoever kept the bitmap last: changes may be missing.
    public var isInconsistent: Bool { map == nil }
    /// Whether changes are recorded now.
    var records: Bool { isEnabled && !isReadOnly && !isInconsistent }
    public var granularity: UInt64 { 1 << UInt64(granularityBits) }
    /// Bytes of all dirty granules, the last one counted whole.
    public var dirtyBytes: UInt64 { (map?.dirtyCount ?? 0) << UInt64(granularityBits) }

    /// Lays the bitmap aside for a job or an export: nobody else may change it. Calls nest.
    public func begin() { users += 1 }
    public func end() {
        precondition(users > 0, "a bitmap is given back that nobody uses")
        users -= 1
    }

    /// The bits are not to be trusted any more.
    func invalidate() { map = nil }

    /// Takes over what another bitmap, opened anew from the same image, says.
    func follow(_ other: DirtyBitmap) {
        map = other.map
        isEnabled = other.isEnabled
        isReadOnly = other.isReadOnly
    }

    /// What a user asks of a bitmap.
    public enum Use: Sendable {
        /// Its bits, or its state in memory: also of a read-only one.
        case look
        /// To be changed.
        case change
        /// To be removed, for which it need not be consistent.
        case remove
    }

    /// Why the bitmap is not for this; nil where it is.
    public func refusal(of use: Use) -> OpenError? {
        let name = self.name ?? ""
        if isBusy {
            return OpenError(
                "Bitmap '\(name)' is currently in use by another operation and cannot be used", cause: .busy)
        }
        if use != .look, isReadOnly {
            return OpenError("Bitmap '\(name)' is readonly and cannot be modified", cause: .readOnly)
        }
        if use != .remove, isInconsistent { return OpenError("Bitmap '\(name)' is inconsistent and cannot be used") }
        return nil
    }
}
