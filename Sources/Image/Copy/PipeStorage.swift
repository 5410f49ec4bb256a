import Block
import Bytes

/// A pipe as the file of an image that is read front to back: what was passed over is kept, within a bound, for tables that
/// are asked for later; data is read once.
///
/// Memory: 64 MiB at most (`mostKept`).
final class PipeStorage: Storage {
    private struct Piece {
        var bytes: [UInt8]
        /// How many bytes of it were asked for.
        var taken = 0
    }

    private let pipe: any BytePipe
    private var pieces: [UInt64: Piece] = [:]
    /// The pieces that are there, in order of their coming.
    private var order: [UInt64] = []
    /// The piece that comes next from the pipe.
    private var next: UInt64 = 0
    private var end: UInt64?
    private let reading = AsyncLock()
    /// Bytes that may be missing at the end: an image's file need not end with its last cluster, but a stream that broke off
    /// lacks more.
    var tolerance: UInt64 = 512

    static let pieceSize: UInt64 = 64 << 10
    static let mostKept = 64 << 20

    /// What reading backwards fails with: ESPIPE.
    static let isGone = BlockError.system(29)

    init(_ pipe: any BytePipe) { self.pipe = pipe }

    var length: UInt64 { end ?? UInt64(Int64.max) }
    var limits: StorageLimits { StorageLimits(growable: true) }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        await reading.lock()
        defer { reading.unlock() }
        var done = 0
        while done < buffer.byteCount {
            let (number, within) = (offset + UInt64(done)).quotientAndRemainder(dividingBy: Self.pieceSize)
            let count = min(buffer.byteCount - done, Int(Self.pieceSize - within))
            try await load(number)
            copy(number, Int(within), count, into: &buffer, at: done)
            done += count
        }
        guard let end, offset + UInt64(buffer.byteCount) > end else { return }
        if offset + UInt64(buffer.byteCount) - end >= tolerance { throw .io }
    }

    /// Copies part of a piece; zeros behind the end of the stream.
    private func copy(
        _ number: UInt64, _ start: Int, _ count: Int, into buffer: inout MutableRawSpan, at place: Int
    ) {
        buffer.fill(at: place, count: count)
        guard var piece = pieces[number] else { return }
        let inside = max(0, min(count, piece.bytes.count - start))
        if inside > 0 { buffer.copy(piece.bytes.byteSpan.extracting(start..<start + inside), at: place) }
        piece.taken += count
        pieces[number] = piece
    }

    private func load(_ number: UInt64) async throws(BlockError) {
        guard pieces[number] == nil else { return }
        guard number >= next else { throw Self.isGone }
        while next <= number, end == nil {
            if order.count * Int(Self.pieceSize) >= Self.mostKept { try drop() }
            var buffer = AlignedBuffer(byteCount: Int(Self.pieceSize))
            var span = buffer.mutableBytes
            let count = try await pipe.read(into: &span)
            if count < buffer.byteCount { end = next * Self.pieceSize + UInt64(count) }
            pieces[next] = Piece(bytes: buffer.bytes.extracting(0..<count).array)
            order.append(next)
            next += 1
        }
    }

    /// Gives up a piece that was read: the oldest of those that were read wholly, else the oldest of which something was. What
    /// nobody has asked for yet stays.
    private func drop() throws(BlockError) {
        let whole = order.firstIndex { (pieces[$0]?.taken ?? 0) >= Int(Self.pieceSize) }
        guard let index = whole ?? order.firstIndex(where: { (pieces[$0]?.taken ?? 0) > 0 }) else { throw .limit }
        pieces[order[index]] = nil
        order.remove(at: index)
    }

    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) { throw .readOnly }
    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) { throw .readOnly }
    func discard(_ range: ByteRange) async throws(BlockError) { throw .readOnly }
    func flush() async throws(BlockError) {}
    func resize(to length: UInt64) async throws(BlockError) { throw .readOnly }
    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        BlockStatus(count: range.count, flags: [.data, .allocated], offset: range.start, holder: self)
    }
}
