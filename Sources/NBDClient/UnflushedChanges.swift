import Block
import Bytes

/// What a server has acknowledged and not yet made durable, in the order in which it did: to be done again where it comes
/// back without it. As with NFS's unstable writes, which a client keeps until the server has committed them (RFC 1813,
/// section 4.8).
///
/// What is durable is kept too as long as something older is: done again alone, the older would undo it.
struct UnflushedChanges {
    enum Kind: Equatable {
        case write
        case zero(mayUnmap: Bool)
        case discard
    }

    /// One change; a write with its bytes.
    final class Change {
        let kind: Kind
        let range: ByteRange
        let bytes: [UInt8]

        init(_ kind: Kind, _ range: ByteRange, _ source: RawSpan) {
            self.kind = kind
            self.range = range
            var copy = [UInt8](repeating: 0, count: source.byteCount)
            copy.withMutableBytes { $0.copy(source) }
            bytes = copy
        }
    }

    /// Whether the changes themselves are kept, or only that there are some.
    let keeps: Bool
    /// What is kept is at most about this much; beyond half of it the server is asked to make it durable.
    static let limit = 64 << 20
    /// What each change takes besides its bytes.
    private static let overhead = 128

    private var changes: [Change] = []
    /// How many of them are durable by now.
    private var start = 0
    /// Changes acknowledged, and of these durable, since the beginning.
    private var added: UInt64 = 0
    private var retired: UInt64 = 0
    private(set) var keptBytes = 0

    init(keeps: Bool) { self.keeps = keeps }

    /// Whether there is something that is not durable.
    var isAny: Bool { added > retired }
    /// Names what has been added so far.
    var mark: UInt64 { added }
    var all: ArraySlice<Change> { changes[start...] }

    mutating func add(_ kind: Kind, _ range: ByteRange, _ bytes: RawSpan, isDurable: Bool) {
        if isDurable, !isAny { return }
        added += 1
        guard keeps else { return }
        changes.append(Change(kind, range, bytes))
        keptBytes += bytes.byteCount + Self.overhead
    }

    /// All up to the mark is durable.
    mutating func retire(to mark: UInt64) {
        guard mark > retired else { return }
        let count = Int(mark - retired)
        retired = mark
        guard keeps else { return }
        for change in changes[start..<start + count] { keptBytes -= change.bytes.count + Self.overhead }
        start += count
        // Moving what remains costs no more than what has gone.
        if 2 * start >= changes.count {
            changes.removeFirst(start)
            start = 0
        }
    }

    /// Nothing of it will be done again.
    mutating func forget() { retire(to: added) }
}
