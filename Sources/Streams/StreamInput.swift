public import Block
public import Bytes

/// What was received and not yet understood: a window on a stream, filled at its end and read from its front.
public struct StreamInput: ~Copyable {
    /// How far the window may grow, in bytes: at least the longest message that is looked at whole.
    private let capacity: Int
    /// Small while a client has not shown that it means it: idle ones may be many.
    private var buffer = AlignedBuffer(byteCount: 4 << 10)
    private var start = 0
    private var end = 0

    public init(capacity: Int) { self.capacity = capacity }

    /// Bytes that wait.
    public var count: Int { end - start }

    public func show<R>(_ body: (RawSpan) -> R) -> R { body(buffer.bytes.extracting(start..<end)) }

    public mutating func consume(_ count: Int) {
        start += count
        if start == end { (start, end) = (0, 0) }
    }

    /// Makes the window as large as it may become: one receive then takes many requests.
    public mutating func widen() { widen(to: capacity) }

    private mutating func widen(to byteCount: Int) {
        var wider = AlignedBuffer(byteCount: min(byteCount, capacity))
        var target = wider.mutableBytes
        show { target.copy($0) }
        (start, end) = (0, count)
        buffer = consume wider
    }

    /// Receives once. False at the end of the stream, and where the window is full of a message that never ends.
    public mutating func receive(from stream: any ByteStream) async throws(BlockError) -> Bool {
        if start > 0 {
            buffer.moveToFront(from: start, count: count)
            (start, end) = (0, count)
        }
        if end == buffer.byteCount {
            guard end < capacity else { return false }
            widen(to: end * 4)
        }
        let (filled, byteCount) = (end, buffer.byteCount)
        var whole = buffer.mutableBytes
        var room = whole._mutatingExtracting(filled..<byteCount)
        let got = try await stream.receive(into: &room)
        end += got
        return got > 0
    }

    /// Moves `length` bytes to `target` from `offset`: what is here, then straight from the stream.
    public mutating func fill(
        _ target: inout AlignedBuffer, at offset: Int = 0, _ length: Int, from stream: any ByteStream
    ) async throws(BlockError) {
        var done = min(length, count)
        var whole = target.mutableBytes
        show { whole.copy($0.extracting(0..<done), at: offset) }
        consume(done)
        while done < length {
            var room = whole._mutatingExtracting(offset + done..<offset + length)
            let got = try await stream.receive(into: &room)
            if got == 0 { throw .closed }
            done += got
        }
    }
}
