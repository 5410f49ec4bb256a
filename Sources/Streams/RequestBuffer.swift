public import Block
public import Bytes

/// The memory of a slot for one request under way: kept between requests, and not forever as large as the largest. What it
/// takes beyond `least` is paid for by the client's account.
public struct RequestBuffer: ~Copyable {
    private let account: MemoryAccount
    /// Nil while it is lent.
    private var buffer: AlignedBuffer? = AlignedBuffer(byteCount: RequestBuffer.least)
    public private(set) var byteCount = RequestBuffer.least

    /// The smallest buffer, in bytes, which whoever makes a slot pays for: most requests are small.
    public static let least = 16 << 10
    /// A buffer up to this size is kept between requests, unless memory is short.
    private static let keptAtMost = 256 << 10
    /// So is a longer one where its client holds no more than this in all: memory that is new to the process costs more
    /// than the copy that it is for.
    private static let keptInAll = 8 << 20

    public init(_ account: MemoryAccount) { self.account = account }

    /// Makes the buffer at least `length` bytes long, keeping its first `count` bytes; false where that cannot be paid.
    /// Precondition: it is not lent.
    public mutating func reserve(_ length: Int, keeping count: Int = 0) -> Bool {
        precondition(buffer != nil, "a buffer is made longer while it is lent")
        guard byteCount < length else { return true }
        guard account.charge(length - byteCount) else { return false }
        byteCount = length
        guard count > 0, let old = buffer.take() else {
            // The old memory goes before the new comes.
            buffer = nil
            buffer = AlignedBuffer(byteCount: length)
            return true
        }
        var longer = AlignedBuffer(byteCount: length)
        var target = longer.mutableBytes
        target.copy(old.bytes.extracting(0..<count))
        buffer = consume longer
        return true
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
        guard byteCount > Self.least else { return }
        let isKept = byteCount <= Self.keptAtMost || account.used <= Self.keptInAll
        if !isKept || !account.budget.isRoomy { shrink() }
    }

    /// Gives back all that is not needed between requests. Precondition: it is not lent.
    public mutating func shrink() {
        precondition(buffer != nil, "a buffer is made shorter while it is lent")
        guard byteCount > Self.least else { return }
        buffer = nil
        buffer = AlignedBuffer(byteCount: Self.least)
        account.refund(byteCount - Self.least)
        byteCount = Self.least
    }
}
