public import Block
import Bytes

/// `map`: the runs of a virtual disk, one after the other.
public enum ImageMap {
    /// Walks `range` of the image behind `image`; neighbours of one kind come as one run. `filename` names the storage
    /// that holds a run's bytes.
    public static func walk(
        _ image: any Storage, from start: UInt64, count: UInt64?, filename: (any Storage) -> String?,
        _ take: (MapEntry) throws(ImageError) -> Void
    ) async throws(ImageError) {
        let end = count.flatMap { ByteRange(checked: start, count: $0)?.end } ?? .max
        var position = start
        var pending: MapEntry?
        while position < min(end, image.length) {
            let rest = ByteRange(from: position, to: min(end, image.length))
            let status: BlockStatus
            do { status = try await image.status(of: rest) } catch {
                throw ImageError("Failed to read image metadata: \(error.sentence)")
            }
            let entry = MapEntry(start: rest.start, status: status, limit: rest.count, filename: filename)
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
}

extension MapEntry {
    init(start: UInt64, status: BlockStatus, limit: UInt64, filename: (any Storage) -> String?) {
        let isPresent = status.flags.contains(.allocated)
        self.init(
            start: start, length: min(status.count, limit), depth: status.depth, isPresent: isPresent,
            isZero: status.flags.contains(.zero), isData: status.flags.contains(.data), offset: status.offset,
            filename: status.offset == nil ? nil : status.holder.flatMap(filename))
    }
}
