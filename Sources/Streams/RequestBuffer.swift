public import Bytes

/// The memory of a slot for one request under way: kept between requests, and not forever as large as the largest.
public struct RequestBuffer: ~Copyable {
    /// Nil while it is lent.
    private var buffer: AlignedBuffer? = AlignedBuffer(byteCount: RequestBuffer.kept)
    public private(set) var byteCount = RequestBuffer.kept

    /// What a slot begins with: most requests are small.
    private static let kept = 16 << 10
    /// A buffer up to this size is kept between requests.
    private static let keptAtMost = 256 << 10

    public init() {}

    /// Makes the buffer at least `length` bytes long, keeping its first `count` bytes. Precondition: it is not lent.
    public mutating func reserve(_ length: Int, keeping count: Int = 0) {
        guard byteCount < length else { return }
        byteCount = length
        var longer = AlignedBuffer(byteCount: length)
        if count > 0, let old = buffer.take() {
            var target = longer.mutableBytes
            target.copy(old.bytes.extracting(0..<count))
        }
        buffer = consume longer
    }

    /// Stores bytes at `offset`. Precondition: they fit, and the buffer is not lent.
    public mutating func store(_ bytes: RawSpan, at offset: Int) {
        guard var lent = buffer.take() else { preconditionFailure("a buffer is used while it is lent") }
        var target = lent.mutableBytes
        target.copy(bytes, at: offset)
        buffer = consume lent
    }

    /// Lends the buffer to whoever fills it or works with it; nil where it is lent already.
    public mutating func take() -> AlignedBuffer? { buffer.take() }

    public mutating func giveBack(_ lent: consuming AlignedBuffer) { buffer = consume lent }

    /// The request has ended: what was needed for it alone goes.
    public mutating func trim() {
        guard byteCount > Self.keptAtMost else { return }
        byteCount = Self.kept
        buffer = AlignedBuffer(byteCount: Self.kept)
    }
}
