public import Block
public import Bytes

/// The filter `compress`: what is written is written compressed. Clusters are compressed whole, so what lies around the
/// bytes of a write is read and compressed with them.
public final class CompressFilter: Storage {
    private let file: any Storage
    /// Changes of one cluster are kept apart: a write that has read the rest of it would bring that back.
    private let lock = RangeLock()

    public init(_ file: any Storage) { self.file = file }

    public var length: UInt64 { file.length }
    public var limits: StorageLimits { file.limits }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await file.read(at: offset, into: &buffer)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        let unit = max(limits.encodedUnit, 1)
        guard let range = ByteRange(checked: offset, count: UInt64(bytes.byteCount)), range.end <= length,
            let wide = range.grown(to: unit)
        else { throw .outOfRange }
        let flags = flags.union(.compressed)
        await lock.lock(wide)
        defer { lock.unlock(wide) }
        var rest = range
        while !rest.isEmpty {
            let whole = wholeClusters(of: rest, unit)
            let from = Int(rest.start - range.start)
            guard whole.isEmpty else {
                let part = bytes.extracting(from..<from + Int(whole.count))
                try await file.write(at: whole.start, from: part, flags: flags)
                rest = rest.dropping(whole.count)
                continue
            }
            let cluster = ByteRange(at: rest.start.roundedDown(to: unit), count: unit)
                .intersection(ByteRange(at: 0, count: length))
            let part = rest.intersection(cluster)
            var buffer = AlignedBuffer(byteCount: Int(cluster.count))
            var span = buffer.mutableBytes
            try await file.read(at: cluster.start, into: &span)
            span.copy(bytes.extracting(from..<from + Int(part.count)), at: Int(part.start - cluster.start))
            try await file.write(at: cluster.start, from: buffer.bytes, flags: flags)
            rest = rest.dropping(part.count)
        }
    }

    /// The first bytes of a range, as far as they are whole clusters; the disk's last one is whole up to the disk's end.
    private func wholeClusters(of range: ByteRange, _ unit: UInt64) -> ByteRange {
        guard range.start % unit == 0 else { return range.prefix(0) }
        return range.end == length ? range : range.prefix(range.count / unit * unit)
    }

    private func apart(_ range: ByteRange, _ change: () async throws(BlockError) -> Void) async throws(BlockError) {
        guard let wide = range.grown(to: max(limits.encodedUnit, 1)) else { throw .outOfRange }
        await lock.lock(wide)
        defer { lock.unlock(wide) }
        try await change()
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await apart(range) { () async throws(BlockError) in try await file.zero(range, flags: flags) }
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        try await apart(range) { () async throws(BlockError) in try await file.discard(range) }
    }

    public func flush() async throws(BlockError) { try await file.flush() }
    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus { try await file.status(of: range) }
    public func resize(to length: UInt64) async throws(BlockError) { try await file.resize(to: length) }
}
