public import Block
public import Bytes

/// A raw disk that nobody said is raw: it was taken for one, since its first bytes are no format's. Whoever writes to it
/// may not make it look like another, for it would be opened as that the next time, with whatever files such an image
/// names. Writes that would are refused (EPERM), as by QEMU.
public final class GuessedDisk: Storage {
    private let disk: any Storage
    /// Held by writes that touch the first bytes: together two might write what neither does.
    private let writing = AsyncLock()

    /// The first bytes of a qcow2 image.
    private static let magic: [UInt8] = [0x51, 0x46, 0x49, 0xFB]

    public init(_ disk: any Storage) { self.disk = disk }

    public var length: UInt64 { disk.length }
    public var limits: StorageLimits { disk.limits }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        try await disk.read(at: offset, into: &buffer)
    }

    public func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
        disk.readNow(at: offset, into: &buffer)
    }

    public func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool {
        offset >= UInt64(Self.magic.count) && disk.writeNow(at: offset, from: bytes)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        guard offset < UInt64(Self.magic.count), bytes.byteCount > 0 else {
            return try await disk.write(at: offset, from: bytes, flags: flags)
        }
        await writing.lock()
        defer { writing.unlock() }
        if try await wouldLookLikeImage(offset, bytes) { throw .system(1) }
        try await disk.write(at: offset, from: bytes, flags: flags)
    }

    private func wouldLookLikeImage(_ offset: UInt64, _ bytes: RawSpan) async throws(BlockError) -> Bool {
        let count = Self.magic.count
        guard disk.length >= UInt64(count) else { return false }
        var start = AlignedBuffer(byteCount: count)
        let isWhole = offset == 0 && bytes.byteCount >= count
        if !isWhole {
            var span = start.mutableBytes
            try await disk.read(at: 0, into: &span)
        }
        var found = start.bytes.array
        for place in Int(offset)..<min(count, Int(offset) + bytes.byteCount) {
            found[place] = bytes.byte(at: place - Int(offset))
        }
        return found == Self.magic
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await disk.zero(range, flags: flags)
    }

    public func discard(_ range: ByteRange) async throws(BlockError) { try await disk.discard(range) }
    public func flush() async throws(BlockError) { try await disk.flush() }

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        try await disk.status(of: range)
    }

    public func resize(to length: UInt64) async throws(BlockError) { try await disk.resize(to: length) }
}
