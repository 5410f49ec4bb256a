import Block
import Bytes
import Graph

/// `map`: the runs of a virtual disk, one after the other.
public enum ImageMap {
    /// Walks the chain from `start` on; neighbours of one kind come as one run.
    public static func walk(
        _ chain: ImageChain, from start: UInt64, count: UInt64?,
        _ take: (MapEntry) throws(ImageError) -> Void
    ) async throws(ImageError) {
        let end = count.flatMap { ByteRange(checked: start, count: $0)?.end } ?? .max
        var position = start
        var pending: MapEntry?
        while position < min(end, chain.top.length) {
            let rest = ByteRange(from: position, to: min(end, chain.top.length))
            let status: BlockStatus
            do { status = try await self.status(of: rest, chain) } catch {
                throw ImageError("Failed to read image metadata: \(error.sentence)")
            }
            let entry = MapEntry(start: rest.start, status: status, limit: rest.count, filename: chain.filename(of:))
            position += entry.length
            if let before = pending {
                if before.continues(into: entry) {
                    pending?.length += entry.length
                    continue
                }
                try take(before)
            }
            pending = entry
        }
        // An empty disk has one empty run.
        try take(
            pending ?? MapEntry(start: start, length: 0, depth: 0, isPresent: false, isZero: false, isData: false))
    }

    /// What the walker knows; where an image's file is emptier than its tables say (metadata was preallocated), the
    /// file's holes are told as zeros too.
    static func status(of range: ByteRange, _ chain: ImageChain) async throws(BlockError) -> BlockStatus {
        var status = try await chain.top.status(of: range)
        guard status.flags.contains(.data), !status.flags.contains(.zero), let offset = status.offset,
            let holder = status.holder, await chain.isSparse(holder)
        else { return status }
        guard offset < holder.length else {
            // Behind the file's end its last cluster reads as zeros.
            status.flags.insert(.zero)
            return status
        }
        let count = min(status.count, range.count, holder.length - offset)
        let below = try await holder.status(of: ByteRange(at: offset, count: count))
        status.count = min(count, below.count)
        if below.flags.contains(.zero) { status.flags.insert(.zero) }
        return status
    }
}

extension MapEntry {
    init(start: UInt64, status: BlockStatus, limit: UInt64, filename: (any Storage) -> String?) {
        // Neither data nor zeros: what a server calls a hole, which reads as nobody knows what. It counts as not there.
        let says = !status.flags.isDisjoint(with: [.data, .zero])
        let isPresent = says && status.flags.contains(.allocated)
        self.init(
            start: start, length: min(status.count, limit), depth: status.depth, isPresent: isPresent,
            isZero: status.flags.contains(.zero), isData: status.flags.contains(.data),
            offset: says ? status.offset : nil,
            filename: status.offset == nil || !says ? nil : status.holder.flatMap(filename))
    }
}
