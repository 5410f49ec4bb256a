public import Block
public import Bytes

/// The filter `copy-on-read`: what is read from below the image is written into the image, so that the next read finds it
/// there. A copy changes nothing of what the disk reads as.
///
/// Copies and changes of the same bytes are kept apart, or a copy could bring back what a write has just replaced.
public final class CopyOnReadFilter: Storage {
    private let file: any Storage
    /// How many layers below the image copies may come from; nil: from any.
    private let deepest: () -> Int?
    private let lock = RangeLock()

    /// `deepest` is asked with each copy.
    public init(_ file: any Storage, deepest: @escaping () -> Int? = { nil }) {
        self.file = file
        self.deepest = deepest
    }

    public var length: UInt64 { file.length }
    public var limits: StorageLimits { file.limits }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        guard let range = ByteRange(checked: offset, count: UInt64(buffer.byteCount)) else { throw .outOfRange }
        guard try await hasMissing(range) else { return try await file.read(at: offset, into: &buffer) }
        // What is copied is copied as the image keeps it, cluster by cluster.
        let unit = max(file.limits.discardAlignment, 1)
        let wide = (range.grown(to: unit) ?? range).intersection(ByteRange(at: 0, count: max(length, range.end)))
        await lock.lock(wide)
        defer { lock.unlock(wide) }
        var rest = wide
        while !rest.isEmpty {
            let status = try await file.status(of: rest)
            let end = rest.prefix(status.count).end
            let part =
                isMissing(status)
                ? ByteRange(from: rest.start, to: min(wide.end, end.roundedUp(to: unit) ?? end))
                : ByteRange(from: rest.start, to: end)
            let inside = part.intersection(range)
            if !inside.isEmpty {
                let from = Int(inside.start - range.start)
                var target = buffer._mutatingExtracting(from..<from + Int(inside.count))
                if isMissing(status) {
                    try await copy(part, inside, into: &target)
                } else {
                    try await file.read(at: inside.start, into: &target)
                }
            }
            rest = rest.dropping(part.count)
        }
    }

    /// Copies a part, and reads what somebody asked of it.
    private func copy(_ part: ByteRange, _ inside: ByteRange, into target: inout MutableRawSpan)
        async throws(BlockError)
    {
        if inside == part {
            try await file.read(at: part.start, into: &target)
            return try await store(part, target.bytes)
        }
        var rest = part
        while !rest.isEmpty {
            let piece = rest.prefix(BlockIO.bounceLimit)
            var bounce = AlignedBuffer(byteCount: Int(piece.count))
            var whole = bounce.mutableBytes
            try await file.read(at: piece.start, into: &whole)
            let asked = piece.intersection(inside)
            if !asked.isEmpty {
                let from = Int(asked.start - piece.start)
                target.copy(
                    bounce.bytes.extracting(from..<from + Int(asked.count)), at: Int(asked.start - inside.start))
            }
            try await store(piece, bounce.bytes)
            rest = rest.dropping(piece.count)
        }
    }

    /// Whether any of it has to be copied. Most reads find nothing to copy, and need no lock.
    private func hasMissing(_ range: ByteRange) async throws(BlockError) -> Bool {
        var rest = range
        while !rest.isEmpty {
            let status = try await file.status(of: rest)
            if isMissing(status) { return true }
            rest = rest.dropping(status.count)
        }
        return false
    }

    /// Whether the image does not say itself what the bytes are.
    private func isMissing(_ status: BlockStatus) -> Bool {
        let isBelow = status.flags.contains(.allocated) && status.depth > 0
        guard let deepest = deepest() else { return isBelow || !status.flags.contains(.allocated) }
        return isBelow && status.depth <= deepest
    }

    /// Zeros are kept as such.
    private func store(_ part: ByteRange, _ bytes: RawSpan) async throws(BlockError) {
        await file.reach(.corWrite)
        if bytes.isZero {
            try await file.zero(part, flags: [])
        } else {
            try await file.write(at: part.start, from: bytes, flags: [])
        }
    }

    private func apart(_ range: ByteRange, _ change: () async throws(BlockError) -> Void) async throws(BlockError) {
        await lock.lock(range)
        defer { lock.unlock(range) }
        try await change()
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        guard let range = ByteRange(checked: offset, count: UInt64(bytes.byteCount)) else { throw .outOfRange }
        await lock.lock(range)
        defer { lock.unlock(range) }
        try await file.write(at: offset, from: bytes, flags: flags)
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
