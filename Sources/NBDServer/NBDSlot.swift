import Block
import Bytes
import NBDWire
import Streams

/// Room for one request under way: a buffer, and a task that is parked between requests. Slots are made as a client's
/// depth grows and reused, so that a request starts no task and allocates nothing.
final class NBDSlot {
    private unowned let session: NBDSession
    private var buffer = RequestBuffer()
    private var request: NBDRequest?
    private var weight = 0
    private let parking = Parking()
    private var isEnding = false

    init(_ session: NBDSession) { self.session = session }

    /// Makes the buffer at least `length` bytes long. Precondition: the slot is idle.
    func reserve(_ length: Int) { buffer.reserve(length) }

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
                await session.handle(request, &memory)
                buffer.giveBack(memory)
                buffer.trim()
            }
            session.finished(self, weight)
        }
    }
}
