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

    /// Pays for `bytes` of memory: of the buffer, which is made as long, or of a reply beside it. False where the budget
    /// has too little, and the request is done with what there is. Precondition, here and for `shrink`: the slot is idle.
    func reserve(_ bytes: Int, asBuffer: Bool) -> Bool {
        if asBuffer { return buffer.reserve(bytes) }
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
            if extra > 0 {
                session.account.refund(extra)
                extra = 0
            }
            buffer.trim()
            session.finished(self, weight)
        }
    }
}
