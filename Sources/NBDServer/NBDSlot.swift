import Block
import Bytes
import NBDWire
import Streams

/// Room for one request under way: a buffer, and a task that is parked between requests. Slots are made as a client's
/// depth grows and reused, so that a request starts no task and allocates nothing.
final class NBDSlot {
    private unowned let session: NBDSession
    private var buffer: RequestBuffer
    /// What a reply may hold besides, paid for the request under way only.
    private var extra = 0
    private var request: NBDRequest?
    private var weight = 0
    private let parking = Parking()
    private var isEnding = false

    init(_ session: NBDSession) {
        self.session = session
        buffer = RequestBuffer(session.account)
    }

    /// How long the buffer is: the longest piece that a request is done in.
    var capacity: Int { buffer.byteCount }

    /// Makes the buffer at least `length` bytes long; false where that cannot be paid, and the request is done in
    /// pieces. Precondition, here and for the next two: the slot is idle.
    func reserve(_ length: Int) -> Bool { buffer.reserve(length) }

    /// Pays for what a reply without a buffer will hold; false where that is too much.
    func reserve(extra bytes: Int) -> Bool {
        guard session.account.charge(bytes) else { return false }
        extra = bytes
        return true
    }

    /// Gives back what is not needed between requests.
    func shrink() { buffer.shrink() }

    /// How many bytes of the reply may be held besides the buffer.
    var room: Int { max(extra, RequestBuffer.least) }

    /// Lends the buffer to the receiver of a payload.
    func takeBuffer() -> AlignedBuffer { buffer.take()! }

    func giveBack(_ lent: consuming AlignedBuffer) { buffer.giveBack(lent) }

    func start(_ request: NBDRequest, _ weight: Int) {
        self.request = request
        self.weight = weight
        parking.wake()
    }

    /// Ends the task. Precondition: the slot is idle.
    func end() {
        isEnding = true
        parking.wake()
    }

    func run() async {
        while true {
            while request == nil {
                if isEnding { return }
                await parking.park()
            }
            guard let request else { continue }
            self.request = nil
            if var memory = buffer.take() {
                await session.handle(request, &memory, replyRoom: room)
                buffer.giveBack(memory)
            }
            session.account.refund(extra)
            extra = 0
            buffer.trim()
            session.finished(self, weight)
        }
    }
}
