import Block
import Bytes

/// What was received and not yet understood: a buffer that is filled at its end and read from its front.
struct NBDInput: ~Copyable {
    /// In transmission one receive takes this much: many requests at a time. Longer than any message of the handshake.
    private static let capacity = 256 << 10

    /// Small while a client has not shown that it means it: idle ones may be many.
    private var buffer = AlignedBuffer(byteCount: 4 << 10)
    private var start = 0
    private var end = 0

    /// Bytes that wait.
    var count: Int { end - start }

    func show<R>(_ body: (RawSpan) -> R) -> R { body(buffer.bytes.extracting(start..<end)) }

    mutating func consume(_ count: Int) {
        start += count
        if start == end { (start, end) = (0, 0) }
    }

    /// Makes room for `capacity` bytes.
    mutating func widen(to capacity: Int = Self.capacity) {
        var wider = AlignedBuffer(byteCount: capacity)
        var target = wider.mutableBytes
        show { target.copy($0) }
        (start, end) = (0, count)
        buffer = consume wider
    }

    /// Receives once. False at the end of the stream, and where the buffer is full of a message that never ends.
    mutating func receive(from stream: any ByteStream) async throws(BlockError) -> Bool {
        if start > 0 {
            buffer.moveToFront(from: start, count: count)
            (start, end) = (0, count)
        }
        if end == buffer.byteCount {
            guard end < Self.capacity else { return false }
            widen(to: end * 4)
        }
        let (filled, capacity) = (end, buffer.byteCount)
        var whole = buffer.mutableBytes
        var room = whole._mutatingExtracting(filled..<capacity)
        let got = try await stream.receive(into: &room)
        end += got
        return got > 0
    }

    /// Moves `length` bytes to the front of `target`: what is here, then straight from the stream.
    mutating func fill(_ target: inout AlignedBuffer, _ length: Int, from stream: any ByteStream)
        async throws(BlockError)
    {
        var done = min(length, count)
        var whole = target.mutableBytes
        show { whole.copy($0.extracting(0..<done)) }
        consume(done)
        while done < length {
            var room = whole._mutatingExtracting(done..<length)
            let got = try await stream.receive(into: &room)
            if got == 0 { throw .closed }
            done += got
        }
    }
}
