public import Block
import Bytes

/// What a session sends: small replies are gathered while the ready queue runs and sent with one call, large ones go
/// out by themselves from where they lie. Bounded: a client that does not read its replies makes its requests wait.
public final class StreamOutput {
    private let stream: any ByteStream
    /// Replies that wait; nil never, but for the moment of the swap.
    private var gathered = AlignedBuffer(byteCount: StreamOutput.capacity)
    private var spare: AlignedBuffer? = AlignedBuffer(byteCount: StreamOutput.capacity)
    private var count = 0
    private var isFinishing = false
    private var isBroken = false
    private var hasEnded = false
    private let work = WaitQueue()
    private let space = WaitQueue()
    private let ended = WaitQueue()
    private let sending = AsyncLock()

    private static let capacity = 256 << 10
    /// Payloads up to this size are copied and gathered: cheaper than a call of their own.
    public static let gatherLimit = 64 << 10

    public init(_ stream: any ByteStream) { self.stream = stream }

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

    /// Adds `length` bytes that `fill` writes, at most `gatherLimit` and a few heads. What `fill` numbers goes out in the
    /// order of its numbers.
    public func gather(_ length: Int, _ fill: (inout MutableRawSpan, Int) -> Void) async {
        while count + length > Self.capacity { await space.wait() }
        var whole = gathered.mutableBytes
        fill(&whole, count)
        count += length
        work.wakeOne()
    }

    /// Adds what `fill` writes when its turn comes: it answers how many bytes, at most `length`, or 0.
    public func gather(upTo length: Int, _ fill: (inout MutableRawSpan, Int) -> Int) async {
        while count + length > Self.capacity { await space.wait() }
        var whole = gathered.mutableBytes
        count += fill(&whole, count)
        if count > 0 { work.wakeOne() }
    }

    /// Adds whole messages, of any length.
    public func add(_ bytes: [UInt8]) async {
        if bytes.count <= Self.gatherLimit {
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
    public func beginTrain(_ atTurn: () -> Void) async {
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
