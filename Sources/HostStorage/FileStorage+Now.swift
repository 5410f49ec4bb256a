import Block
import Bytes
import HostIO

// What the page cache answers in place: cheaper by half than a trip through the ring and its workers, and what is not
// there costs a failed call.
extension FileStorage {
    /// Copying more than this takes longer than the trip.
    private static let inPlaceLimit = 64 << 10

    public func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
        guard !file.options.direct, buffer.byteCount <= Self.inPlaceLimit, isInside(offset, buffer.byteCount) else {
            return false
        }
        return thread.readCached(file.descriptor, at: offset, into: &buffer)
    }

    /// A write into the page cache is a copy, as long as the kernel has room for what is dirty and no flush keeps the
    /// file's journal busy; not every file system can tell that beforehand, so it is watched.
    public func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool {
        guard !isReadOnly, !file.options.direct, bytes.byteCount <= Self.inPlaceLimit, flushes == 0,
            isInside(offset, bytes.byteCount)
        else { return false }
        let startNs = thread.nowNs
        guard patience.allows(at: startNs) else { return false }
        let switches = patience.isWatching ? thread.waits : 0
        let isDone = thread.writeCached(file.descriptor, at: offset, from: bytes)
        patience.note(
            from: startNs, to: thread.nowNs, hasWaited: patience.isWatching && thread.waits != switches)
        if isDone { grow(to: offset + UInt64(bytes.byteCount)) }
        return isDone
    }

    private func isInside(_ offset: UInt64, _ count: Int) -> Bool {
        do throws(BlockError) { try check(ByteRange(checked: offset, count: UInt64(count))) } catch { return false }
        return true
    }
}
