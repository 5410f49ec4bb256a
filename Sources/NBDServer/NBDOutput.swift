import Block
import Bytes
import NBDWire

/// What a session sends: small replies are gathered while the ready queue runs and sent with one call, large ones go
/// out by themselves from where they lie. Bounded: a client that does not read its replies makes its requests wait. The
/// buffers grow with the need, as far as the client's account pays for it.
final class NBDOutput {
    private let stream: any ByteStream
    private let account: MemoryAccount
    /// Replies that wait.
    private var gathered = AlignedBuffer(byteCount: NBDOutput.least / 2)
    /// Nil while it is sent. It may be of the size before the last growth.
    private var spare: AlignedBuffer? = AlignedBuffer(byteCount: NBDOutput.least / 2)
    /// Of each of the two.
    private var capacity = NBDOutput.least / 2
    private var count = 0
    private var isFinishing = false
    private(set) var isBroken = false
    private var hasEnded = false
    private let work = WaitQueue()
    private let space = WaitQueue()
    private let ended = WaitQueue()
    private let sending = AsyncLock()

    /// What both buffers take from the start, already paid.
    static let least = 64 << 10
    /// What each grows to.
    private static let largest = 256 << 10
    /// Payloads up to this part of a buffer are copied and gathered: cheaper than a call of their own.
    private static let gatheredPart = 4

    init(_ stream: any ByteStream, _ account: MemoryAccount) {
        self.stream = stream
        self.account = account
    }

    /// Whether a payload of `length` bytes is gathered; larger ones are sent by themselves.
    func gathers(_ length: Int) -> Bool {
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
    func finish() async {
        isFinishing = true
        work.wakeAll()
        while !hasEnded { await ended.wait() }
    }

    /// Adds `length` bytes that `fill` writes: a payload that is gathered, and a head.
    func gather(_ length: Int, _ fill: (inout MutableRawSpan, Int) -> Void) async {
        if count + length > capacity { grow() }
        while count + length > capacity { await space.wait() }
        var whole = gathered.mutableBytes
        fill(&whole, count)
        count += length
        work.wakeOne()
    }

    /// Adds whole chunks, of any length.
    func add(_ bytes: [UInt8]) async {
        if gathers(bytes.count) {
            await gather(bytes.count) { $0.copy(bytes.byteSpan, at: $1) }
        } else {
            await sendNow([], bytes.byteSpan)
        }
    }

    /// Sends a head and a payload from where it lies.
    func sendNow(_ head: [UInt8], _ payload: RawSpan) async {
        await begin()
        await sendPart(head, payload)
        end()
    }

    // MARK: A reply in parts

    /// Begins a reply that goes out in several parts; no other byte is sent until `end`.
    func begin() async {
        await sending.lock()
        // What gathered before goes first: the last chunk of a reply may not overtake the others.
        await sendGathered()
    }

    func sendPart(_ head: [UInt8], _ payload: RawSpan) async {
        guard !isBroken else { return }
        do { try await stream.send(head.byteSpan, payload) } catch { isBroken = true }
    }

    func end() { sending.unlock() }

    // MARK: Small replies

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
