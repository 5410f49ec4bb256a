public import Block
import Bytes

/// What a session sends: small replies are gathered while the ready queue runs and sent with one call, large ones go
/// out by themselves from where they lie. Bounded: a client that does not read its replies makes its requests wait. The
/// buffers grow with the need, as far as the client's account pays for it.
public final class StreamOutput {
    private let stream: any ByteStream
    private let account: MemoryAccount
    /// Replies that wait.
    private var gathered = AlignedBuffer(byteCount: StreamOutput.least / 2)
    /// Nil while it is sent. It may be of the size before the last growth.
    private var spare: AlignedBuffer? = AlignedBuffer(byteCount: StreamOutput.least / 2)
    /// Of each of the two.
    private var capacity = StreamOutput.least / 2
    private var count = 0
    private var isFinishing = false
    public private(set) var isBroken = false {
        didSet { if isBroken, !oldValue { onBroken?() } }
    }
    /// Called once, when something could not be sent: nothing will be any more.
    public var onBroken: (() -> Void)?
    private var hasEnded = false
    private let work = WaitQueue()
    private let space = WaitQueue()
    private let ended = WaitQueue()
    private let sending = AsyncLock()

    /// What both buffers take from the start, already paid.
    public static let least = 64 << 10
    /// What each grows to.
    private static let largest = 256 << 10
    /// Payloads up to this part of a buffer are copied and gathered: cheaper than a call of their own.
    private static let gatheredPart = 4

    public init(_ stream: any ByteStream, _ account: MemoryAccount) {
        self.stream = stream
        self.account = account
    }

    /// Whether a payload of `length` bytes is gathered; larger ones are sent by themselves.
    public func gathers(_ length: Int) -> Bool {
        if length > capacity / Self.gatheredPart, length <= Self.largest / Self.gatheredPart { grow() }
        return length <= capacity / Self.gatheredPart
    }

    private func grow() {
        guard capacity < Self.largest, account.charge(2 * (Self.largest - capacity)) else { return }
        capacity = Self.largest
        var wider = AlignedBuffer(byteCount: capacity)
        var target = wider.mutableBytes
        target.copy(gathered.bytes.extracting(0..<count))
        gathered = consume wider
    }

    /// Sends what gathers until `finish`.
    public func run() async {
        while true {
            while count == 0 {
                if isFinishing {
                    hasEnded = true
                    return ended.wakeAll()
                }
                await work.wait()
            }
            await sending.lock()
            await sendGathered()
            sending.unlock()
        }
    }

    private func sendGathered() async {
        guard count > 0, var other = spare.take() else { return }
        if other.byteCount < capacity { other = AlignedBuffer(byteCount: capacity) }
        swap(&gathered, &other)
        let length = count
        count = 0
        space.wakeAll()
        if !isBroken {
            do { try await stream.send(other.bytes.extracting(0..<length)) } catch { isBroken = true }
        }
        spare = consume other
    }

    /// Sends what remains and ends.
    public func finish() async {
        isFinishing = true
        work.wakeAll()
        while !hasEnded { await ended.wait() }
    }

    // MARK: Small replies

    /// Adds `length` bytes that `fill` writes: a payload that is gathered, and a few heads. What `fill` numbers goes out in
    /// the order of its numbers.
    public func gather(_ length: Int, _ fill: (inout MutableRawSpan, Int) -> Void) async {
        await gather(upTo: length) { bytes, position in
            fill(&bytes, position)
            return length
        }
    }

    /// Adds what `fill` writes when its turn comes: it answers how many bytes, at most `length`, or 0.
    public func gather(upTo length: Int, _ fill: (inout MutableRawSpan, Int) -> Int) async {
        if count + length > capacity { grow() }
        while count + length > capacity { await space.wait() }
        var whole = gathered.mutableBytes
        count += fill(&whole, count)
        if count > 0 { work.wakeOne() }
    }

    /// Adds `length` bytes that `fill` writes, where there is room at once. False where there is not, or `fill` says so:
    /// then nothing is added.
    public func gatherNow(_ length: Int, _ fill: (inout MutableRawSpan, Int) -> Bool) -> Bool {
        if count + length > capacity { grow() }
        guard count + length <= capacity else { return false }
        var whole = gathered.mutableBytes
        guard fill(&whole, count) else { return false }
        count += length
        work.wakeOne()
        return true
    }

    /// Adds whole messages, of any length.
    public func add(_ bytes: [UInt8]) async {
        if gathers(bytes.count) {
            await gather(bytes.count) { $0.copy(bytes.byteSpan, at: $1) }
        } else {
            await sendNow([], bytes.byteSpan)
        }
    }

    // MARK: Large replies

    /// Sends a head and a payload from where it lies.
    public func sendNow(_ head: [UInt8], _ payload: RawSpan) async {
        await beginTrain {}
        await sendPart(head.byteSpan, payload)
        endTrain()
    }

    /// Takes the wire for parts that belong together: nothing goes between them. `atTurn` runs when all that has
    /// gathered, and nothing that will, goes before them; what it numbers is in order with what `gather` does.
    public func beginTrain(_ atTurn: () -> Void = {}) async {
        await sending.lock()
        // What gathered before goes first: the last chunk of a reply may not overtake the others.
        atTurn()
        await sendGathered()
    }

    /// Precondition: within a train.
    public func sendPart(_ head: RawSpan, _ payload: RawSpan) async {
        guard !isBroken else { return }
        do { try await stream.send(head, payload) } catch { isBroken = true }
    }

    public func endTrain() { sending.unlock() }
}
