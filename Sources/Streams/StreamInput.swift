public import Block
public import Bytes

/// What was received and not yet understood: a window on a stream, filled at its end and read from its front. It grows with
/// what the client sends at a time, as far as the client's account pays for it: idle clients may be many.
public struct StreamInput: ~Copyable {
    /// How far the window may grow, in bytes: at least the longest message that is looked at whole.
    private let capacity: Int
    private let account: MemoryAccount
    private var buffer = AlignedBuffer(byteCount: StreamInput.least)
    /// Whether the last receive filled the buffer: there is more to come.
    public private(set) var isFilled = false
    private var start = 0
    private var end = 0

    /// What there is from the start, already paid.
    public static let least = 4 << 10

    public init(_ account: MemoryAccount, capacity: Int) {
        self.account = account
        self.capacity = capacity
    }

    /// Bytes that wait.
    public var count: Int { end - start }

    public func show<R>(_ body: (RawSpan) -> R) -> R { body(buffer.bytes.extracting(start..<end)) }

    public mutating func consume(_ count: Int) {
        start += count
        if start == end { (start, end) = (0, 0) }
    }

    /// Makes the window as large as it may become; false where that cannot be paid.
    public mutating func widen() -> Bool { buffer.byteCount == capacity || widen(to: capacity) }

    /// False where that is too large, or cannot be paid.
    private mutating func widen(to byteCount: Int) -> Bool {
        guard byteCount <= capacity, account.charge(byteCount - buffer.byteCount) else { return false }
        var wider = AlignedBuffer(byteCount: byteCount)
        var target = wider.mutableBytes
        show { target.copy($0) }
        (start, end) = (0, count)
        buffer = consume wider
        return true
    }

    /// Receives once. False at the end of the stream, and where the window is full of a message that never ends or is too
    /// long for it.
    public mutating func receive(from stream: any ByteStream) async throws(BlockError) -> Bool {
        if start > 0 {
            buffer.moveToFront(from: start, count: count)
            (start, end) = (0, count)
        }
        if isFilled || end == buffer.byteCount, !widen(to: 2 * buffer.byteCount), end == buffer.byteCount {
            return false
        }
        let (filled, byteCount) = (end, buffer.byteCount)
        var whole = buffer.mutableBytes
        var room = whole._mutatingExtracting(filled..<byteCount)
        let got = try await stream.receive(into: &room)
        end += got
        isFilled = end == byteCount
        return got > 0
    }

    /// Moves `length` bytes to `target` from `offset`: what is here, then straight from the stream.
    public mutating func fill(
        _ target: inout AlignedBuffer, at offset: Int = 0, _ length: Int, from stream: any ByteStream
    ) async throws(BlockError) {
        var whole = target.mutableBytes
        var part = whole._mutatingExtracting(offset..<offset + length)
        try await fill(&part, from: stream)
    }

    /// Fills all of `target` likewise.
    public mutating func fill(_ target: inout MutableRawSpan, from stream: any ByteStream) async throws(BlockError) {
        let length = target.byteCount
        var done = min(length, count)
        show { target.copy($0.extracting(0..<done)) }
        consume(done)
        while done < length {
            var room = target._mutatingExtracting(done..<length)
            let got = try await stream.receive(into: &room)
            if got == 0 { throw .closed }
            done += got
        }
    }
}
