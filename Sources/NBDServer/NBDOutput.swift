import Block
import Bytes
import NBDWire

/// What a session sends: small replies are gathered while the ready queue runs and sent with one call, large ones go
/// out by themselves from where they lie. Bounded: a client that does not read its replies makes its requests wait.
final class NBDOutput {
    private let stream: any ByteStream
    /// Replies that wait; nil never, but for the moment of the swap.
    private var gathered = AlignedBuffer(byteCount: NBDOutput.capacity)
    private var spare: AlignedBuffer? = AlignedBuffer(byteCount: NBDOutput.capacity)
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
    static let gatherLimit = 64 << 10

    init(_ stream: any ByteStream) { self.stream = stream }

    /// Sends what gathers until `finish`.
    func run() async {
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
    func finish() async {
        isFinishing = true
        work.wakeAll()
        while !hasEnded { await ended.wait() }
    }

    /// Adds `length` bytes that `fill` writes, at most `gatherLimit` and a head.
    func gather(_ length: Int, _ fill: (inout MutableRawSpan, Int) -> Void) async {
        while count + length > Self.capacity { await space.wait() }
        var whole = gathered.mutableBytes
        fill(&whole, count)
        count += length
        work.wakeOne()
    }

    /// Adds whole chunks, of any length.
    func add(_ bytes: [UInt8]) async {
        if bytes.count <= Self.gatherLimit {
            await gather(bytes.count) { $0.copy(bytes.byteSpan, at: $1) }
        } else {
            await sendNow([], bytes.byteSpan)
        }
    }

    /// Sends a head and a payload from where it lies.
    func sendNow(_ head: [UInt8], _ payload: RawSpan) async {
        await sending.lock()
        // What gathered before goes first: the last chunk of a reply may not overtake the others.
        await sendGathered()
        if !isBroken {
            do { try await stream.send(head.byteSpan, payload) } catch { isBroken = true }
        }
        sending.unlock()
    }

    /// Answers a request with an error, in the form the client negotiated.
    func fail(_ request: NBDRequest, _ error: NBDError, _ session: NBDSession) async {
        if session.hasStructuredReplies {
            await add(NBDReply.errorChunk(error, cookie: request.cookie, message: ""))
        } else {
            await simple(request, error.rawValue)
        }
    }

    /// A simple reply without payload.
    func simple(_ request: NBDRequest, _ error: UInt32 = 0) async {
        await gather(NBDReply.simpleByteCount) {
            NBDReply.storeSimple(&$0, at: $1, error: error, cookie: request.cookie)
        }
    }
}
