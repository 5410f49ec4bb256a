import Block
import Bytes
import NBDWire

/// Why a request on a connection came to nothing.
enum NBDCallFailure: Error {
    /// The connection ended first: what became of the request is not known.
    case lost
    /// The server refused it.
    case refused(BlockError)
}

/// One request under way on a connection, from when it is sent until its reply is whole. Used again for later ones.
final class NBDCall {
    /// What the receiver has for whoever made the request.
    enum Event {
        /// So many bytes of the read come next in the stream: take them, and give the turn back.
        case data(at: Int, count: Int, isLast: Bool)
        /// These bytes of the read are zeros.
        case hole(at: Int, count: Int, isLast: Bool)
        case ended
        case lost
    }

    private(set) var request = NBDRequest(flags: [], type: 0, cookie: 0, offset: 0, length: 0)
    private(set) var isUnderWay = false
    /// Whether its reply is whole, though whoever made it has not gone on yet: nothing more may come for it.
    private(set) var isAnswered = false
    /// What of a read has been told.
    var coverage = Coverage()
    /// What the server said went wrong.
    var failure: BlockError?
    /// The first extent of a block status reply.
    var extent: (length: UInt32, flags: UInt32)?
    private var event: Event?
    private let parking = Parking()

    func begin(_ request: NBDRequest) {
        self.request = request
        isUnderWay = true
        isAnswered = false
        coverage = Coverage()
        failure = nil
        extent = nil
        event = nil
    }

    func end() { isUnderWay = false }

    /// That the connection is lost overtakes whatever was told before.
    func tell(_ event: Event) {
        if case .ended = event { isAnswered = true }
        self.event = event
        parking.wake()
    }

    /// Waits for what the receiver tells next.
    func next() async -> Event {
        while true {
            if let event {
                self.event = nil
                return event
            }
            await parking.park()
        }
    }
}

/// Which parts of a read have arrived, each once.
struct Coverage {
    /// Sorted, and apart from each other.
    private var parts: [ByteRange] = []

    /// Adds a part; false where some of it was there, or the parts lie too far apart to be kept count of.
    mutating func add(_ range: ByteRange) -> Bool {
        // Most replies come front to back.
        if let last = parts.last, last.end == range.start {
            parts[parts.count - 1] = ByteRange(from: last.start, to: range.end)
            return true
        }
        var index = parts.count
        while index > 0, parts[index - 1].start >= range.end { index -= 1 }
        if index > 0, parts[index - 1].end > range.start { return false }
        if index > 0, parts[index - 1].end == range.start {
            parts[index - 1] = ByteRange(from: parts[index - 1].start, to: range.end)
        } else {
            guard parts.count < NBDLimits.fragments else { return false }
            parts.insert(range, at: index)
            index += 1
        }
        if index < parts.count, parts[index - 1].end == parts[index].start {
            parts[index - 1] = ByteRange(from: parts[index - 1].start, to: parts[index].end)
            parts.remove(at: index)
        }
        return true
    }

    /// Whether the first `count` bytes are all there.
    func isWhole(_ count: UInt64) -> Bool { parts == [ByteRange(at: 0, count: count)] }
}
