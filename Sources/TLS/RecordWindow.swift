import Block
import Bytes

/// What came in of a connection and is not a whole record yet.
struct RecordWindow: ~Copyable {
    /// Bytes that one receive takes in; a record has up to 18 KiB and a little (RFC 5246, section 6.2.3).
    static let room = 20 << 10

    /// Made when the first bytes are due.
    private var buffer = AlignedBuffer(byteCount: 0)
    private var start = 0
    private var end = 0

    /// Lends what there is, and keeps as many bytes from its end as `body` leaves in its second argument.
    mutating func lend<R>(_ body: (UnsafeRawPointer?, UnsafeMutablePointer<Int>) -> R) -> R {
        var rest = end - start
        // Proof: the span is valid for its count, which is told, during the call.
        let result = unsafe buffer.bytes.extracting(start..<end).withUnsafeBytes { unsafe body($0.baseAddress, &rest) }
        start = end - rest
        return result
    }

    /// Waits for more. False at the end of the stream.
    mutating func receive(from stream: any ByteStream) async throws(BlockError) -> Bool {
        if buffer.byteCount == 0 { buffer = AlignedBuffer(byteCount: Self.room) }
        if start > 0 {
            buffer.moveToFront(from: start, count: end - start)
            (start, end) = (0, end - start)
        }
        // No record fills it, so there is room unless the library takes nothing any more.
        guard end < buffer.byteCount else { throw .io }
        let (filled, byteCount) = (end, buffer.byteCount)
        var whole = buffer.mutableBytes
        var room = whole._mutatingExtracting(filled..<byteCount)
        let got = try await stream.receive(into: &room)
        end += got
        return got > 0
    }
}
