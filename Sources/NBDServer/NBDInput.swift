import Block
import Bytes

/// What was received and not yet understood: a buffer that is filled at its end and read from its front. It grows with
/// what the client sends at a time, as far as the client's account pays for it: idle clients may be many.
struct NBDInput: ~Copyable {
    /// In transmission one receive takes up to this much: many requests at a time. Longer than any message of the handshake.
    private static let capacity = 256 << 10
    /// What there is from the start, already paid.
    static let least = 4 << 10

    private let account: MemoryAccount
    private var buffer = AlignedBuffer(byteCount: NBDInput.least)
    /// Whether the last receive filled the buffer: there is more to come.
    private var isFilled = false
    private var start = 0
    private var end = 0

    init(_ account: MemoryAccount) { self.account = account }

    /// Bytes that wait.
    var count: Int { end - start }

    func show<R>(_ body: (RawSpan) -> R) -> R { body(buffer.bytes.extracting(start..<end)) }

    mutating func consume(_ count: Int) {
        start += count
        if start == end { (start, end) = (0, 0) }
    }

    /// Makes the buffer twice as large; false where that is too large, or cannot be paid.
    private mutating func widen() -> Bool {
        let old = buffer.byteCount
        guard old < Self.capacity, account.charge(old) else { return false }
        var wider = AlignedBuffer(byteCount: 2 * old)
        var target = wider.mutableBytes
        show { target.copy($0) }
        (start, end) = (0, count)
        buffer = consume wider
        return true
    }

    /// Receives once. False at the end of the stream, and where the buffer is full of a message that never ends or is
    /// too long for it.
    mutating func receive(from stream: any ByteStream) async throws(BlockError) -> Bool {
        if start > 0 {
            buffer.moveToFront(from: start, count: count)
            (start, end) = (0, count)
        }
        if isFilled || end == buffer.byteCount, !widen(), end == buffer.byteCount { return false }
        let (filled, capacity) = (end, buffer.byteCount)
        var whole = buffer.mutableBytes
        var room = whole._mutatingExtracting(filled..<capacity)
        let got = try await stream.receive(into: &room)
        end += got
        isFilled = end == capacity
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
