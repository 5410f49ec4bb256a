import Block
import Bytes
import NBDWire

/// Room for one request under way: a buffer, and a task that is parked between requests. Slots are made as a client's
/// depth grows and reused, so that a request starts no task and allocates nothing.
final class NBDSlot {
    private unowned let session: NBDSession
    /// Nil while the task works with it.
    private var buffer: AlignedBuffer? = AlignedBuffer(byteCount: NBDSlot.least)
    /// How long the buffer is; the client's account has paid for it.
    private(set) var capacity = NBDSlot.least
    /// What a reply may hold besides, paid for the request under way only.
    private var extra = 0
    private var request: NBDRequest?
    private var weight = 0
    private var parked: Suspension<Void>?
    private var isEnding = false

    /// The smallest buffer, and so the smallest piece that a request is done in.
    static let least = 16 << 10
    /// A buffer up to this size is kept between requests, unless memory is short.
    private static let keptAtMost = 256 << 10

    init(_ session: NBDSession) { self.session = session }

    /// Pays for `bytes` of memory: of the buffer, which is made as long, or of a reply beside it. False where the budget
    /// has too little, and the request is done with what there is. Precondition, here and for `shrink`: the slot is idle.
    func reserve(_ bytes: Int, asBuffer: Bool) -> Bool {
        guard asBuffer else {
            guard session.account.charge(bytes) else { return false }
            extra = bytes
            return true
        }
        guard capacity < bytes else { return true }
        guard session.account.charge(bytes - capacity) else { return false }
        capacity = bytes
        buffer = nil
        buffer = AlignedBuffer(byteCount: bytes)
        return true
    }

    /// Gives back what is not needed between requests.
    func shrink() {
        guard capacity > Self.least else { return }
        buffer = nil
        buffer = AlignedBuffer(byteCount: Self.least)
        session.account.refund(capacity - Self.least)
        capacity = Self.least
    }

    /// How many bytes of the reply may be held besides the buffer.
    var room: Int { max(extra, Self.least) }

    /// Lends the buffer to the receiver of a payload.
    func takeBuffer() -> AlignedBuffer { buffer.take()! }

    func giveBack(_ lent: consuming AlignedBuffer) { buffer = consume lent }

    func start(_ request: NBDRequest, _ weight: Int) {
        self.request = request
        self.weight = weight
        wake()
    }

    /// Ends the task. Precondition: the slot is idle.
    func end() {
        isEnding = true
        wake()
    }

    private func wake() {
        parked?.resume()
        parked = nil
    }

    func run() async {
        while true {
            while request == nil {
                if isEnding { return }
                await suspend { parked = $0 }
            }
            guard let request else { continue }
            self.request = nil
            if var memory = buffer.take() {
                await session.handle(request, &memory, replyRoom: room)
                buffer = consume memory
            }
            if extra > 0 {
                session.account.refund(extra)
                extra = 0
            }
            if capacity > Self.least, capacity > Self.keptAtMost || !session.account.budget.isRoomy { shrink() }
            session.finished(self, weight)
        }
    }
}
