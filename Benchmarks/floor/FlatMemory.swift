import Block
import Bytes

/// The floor under every benchmark: the NBD server over a storage that does nothing but copy memory. What a client reaches
/// here is what it can reach at all; what separates a real node from it is the cost of graph, format and file.
final class FlatMemory: Storage {
    /// As much as is kept: longer disks repeat, for nobody looks at what comes back.
    private static let kept = 512 << 20
    /// The longest request of a client, so that none has to be split where the memory ends.
    private static let longest = 32 << 20

    let length: UInt64
    private var memory = AlignedBuffer(byteCount: FlatMemory.kept + FlatMemory.longest)

    init(length: UInt64) {
        self.length = length
        memory.fill()
    }

    var limits: StorageLimits { StorageLimits(zeroesFast: true, discards: true) }

    private func place(_ offset: UInt64) -> Int { Int(offset % UInt64(Self.kept)) }

    func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
        memory.load(into: &buffer, from: place(offset))
        return true
    }

    func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool {
        memory.store(bytes, at: place(offset))
        return true
    }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        _ = readNow(at: offset, into: &buffer)
    }

    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        _ = writeNow(at: offset, from: bytes)
    }

    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {}
    func discard(_ range: ByteRange) async throws(BlockError) {}
    func flush() async throws(BlockError) {}
    func resize(to length: UInt64) async throws(BlockError) { throw .unsupported }

    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        BlockStatus(count: range.count, flags: [.data, .allocated], offset: range.start, holder: self)
    }
}

extension AlignedBuffer {
    fileprivate mutating func fill() {
        var whole = mutableBytes
        whole.fill(171)
    }

    fileprivate borrowing func load(into buffer: inout MutableRawSpan, from start: Int) {
        buffer.copy(bytes.extracting(start..<start + buffer.byteCount))
    }

    fileprivate mutating func store(_ source: RawSpan, at start: Int) {
        var whole = mutableBytes
        whole.copy(source, at: start)
    }
}
