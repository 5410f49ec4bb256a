import Block
import Bytes
import NBDWire

/// Room for one request under way: a buffer, and a task that is parked between requests. Slots are made as a client's
/// depth grows and reused, so that a request starts no task and allocates nothing.
final class NBDSlot {
    private unowned let session: NBDSession
    /// Nil while the task works with it.
    private var buffer: AlignedBuffer? = AlignedBuffer(byteCount: NBDSlot.kept)
    private var capacity = NBDSlot.kept
    private var request: NBDRequest?
    private var weight = 0
    private var parked: Suspension<Void>?
    private var isEnding = false

    /// A buffer up to this size is kept between requests.
    private static let kept = 16 << 10
    private static let keptAtMost = 256 << 10

    init(_ session: NBDSession) { self.session = session }

    /// Makes the buffer at least `length` bytes long. Precondition: the slot is idle.
    func reserve(_ length: Int) {
        guard capacity < length else { return }
        capacity = length
        buffer = AlignedBuffer(byteCount: length)
    }

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
                await session.handle(request, &memory)
                if capacity > Self.keptAtMost {
                    capacity = Self.kept
                    buffer = AlignedBuffer(byteCount: Self.kept)
                } else {
                    buffer = consume memory
                }
            }
            session.finished(self, weight)
        }
    }
}
