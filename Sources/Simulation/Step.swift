public import Block
public import Bytes

/// One step of a program; lengths and offsets in bytes.
public enum Step: Sendable, CustomStringConvertible {
    case write(ByteRange, fua: Bool, fill: UInt64)
    case writeZeros(ByteRange)
    case zero(ByteRange, mayUnmap: Bool, fua: Bool)
    case discard(ByteRange)
    case read(ByteRange)
    case status(ByteRange)
    case flush
    case resize(UInt64)
    /// A new overlay of this size on top.
    case snapshot(UInt64)
    case reopen
    /// The image gets an internal snapshot while it is closed.
    case internalSnapshot
    /// The image makes an internal snapshot itself, while it is open.
    case snapshotCreate
    /// The disk becomes what it was at one of the internal snapshots, chosen by a number.
    case snapshotApply(UInt64)
    /// One of them goes.
    case snapshotDelete(UInt64)
    /// A machine's state is saved, so many bytes from an offset in it on; the disk does not show it, the next snapshot keeps it.
    case vmState(ByteRange, fill: UInt64)
    /// The image gets another version or refcount width, or says otherwise of lazy refcounts: all that a number stands for.
    case amend(UInt64)
    /// One thing of the image is amended.
    case change(Amendment)
    /// The image is checked while it is open and the guest goes on.
    case check
    /// A new size as the tool gives it: what the disk gains may get its place at once, what it loses is cut off the file.
    case refit(UInt64, Preallocation)
    /// Something happens to a persistent bitmap.
    case bitmap(BitmapStep)
    /// Nothing is asked for this long.
    case pause(ms: UInt64)
    case compare

    public var description: String {
        switch self {
        case .write(let range, let fua, _): "write \(range)\(fua ? " fua" : "")"
        case .writeZeros(let range): "write zeros \(range)"
        case .zero(let range, let mayUnmap, let fua): "zero \(range)\(mayUnmap ? " unmap" : "")\(fua ? " fua" : "")"
        case .discard(let range): "discard \(range)"
        case .read(let range): "read \(range)"
        case .status(let range): "status \(range)"
        case .flush: "flush"
        case .resize(let size): "resize \(size)"
        case .snapshot(let size): "snapshot \(size)"
        case .reopen: "reopen"
        case .internalSnapshot: "internal snapshot"
        case .snapshotCreate: "create snapshot"
        case .snapshotApply(let choice): "apply snapshot \(choice)"
        case .snapshotDelete(let choice): "delete snapshot \(choice)"
        case .vmState(let range, _): "save VM state \(range)"
        case .amend(let choice): "amend \(choice)"
        case .change(let amendment): "amend \(amendment)"
        case .check: "check"
        case .refit(let size, let mode): "refit \(size)\(mode == .off ? "" : " \(mode)")"
        case .bitmap(let step): "bitmap \(step)"
        case .pause(let ms): "pause \(ms)"
        case .compare: "compare"
        }
    }
}

/// What happens to a persistent bitmap of the top image.
public enum BitmapStep: Sendable {
    case add(String, granularityBits: Int, isEnabled: Bool)
    case remove(String)
    case clear(String)
    case setEnabled(String, Bool)
    /// What the second one has marked is marked in the first one too.
    case merge(String, from: String)
}

extension Step {
    /// The step on a disk that is shorter than the program thought, since a full disk refused to grow it; nil where
    /// nothing is left of it.
    public func clipped(to length: UInt64) -> Step? {
        func inside(_ range: ByteRange) -> ByteRange? {
            range.start < length ? range.intersection(ByteRange(at: 0, count: length)) : nil
        }
        switch self {
        case .write(let range, let fua, let fill): return inside(range).map { .write($0, fua: fua, fill: fill) }
        case .writeZeros(let range): return inside(range).map { .writeZeros($0) }
        case .zero(let range, let unmap, let fua): return inside(range).map { .zero($0, mayUnmap: unmap, fua: fua) }
        case .discard(let range): return inside(range).map { .discard($0) }
        case .read(let range): return inside(range).map { .read($0) }
        case .status(let range): return inside(range).map { .status($0) }
        default: return self
        }
    }
}
