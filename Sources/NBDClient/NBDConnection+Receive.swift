import Block
import Bytes
import NBDWire
import Streams

// What a server says is checked against the requests it was sent. Whatever the protocol forbids ends the connection: a
// server that is wrong about one request may have mixed up others.
extension NBDConnection {
    func receiveReplies() async {
        do throws(NBDLoss) {
            while loss == nil {
                switch try await nextHead() {
                case .simple(let error, let cookie): try await takeSimple(error, cookie)
                case .chunk(let type, let isLast, let cookie, let length):
                    try await takeChunk(type, isLast, cookie, Int(length))
                case .incomplete, .malformed: throw .violation("invalid magic of a reply")
                }
            }
        } catch { end(error) }
    }

    private func nextHead() async throws(NBDLoss) -> NBDReplyHead {
        while true {
            let head = input.show { NBDReplyHead($0) }
            guard head == .incomplete else {
                input.consume(head.byteCount)
                return head
            }
            try await receive()
        }
    }

    private func receive() async throws(NBDLoss) {
        let isOpen: Bool
        do throws(BlockError) { isOpen = try await input.receive(from: stream) } catch {
            throw .gone("the connection failed: \(error.sentence)")
        }
        guard isOpen else { throw .gone("the server closed the connection") }
        heard()
    }

    /// Waits until `count` bytes of a payload lie in the window.
    private func need(_ count: Int) async throws(NBDLoss) { while input.count < count { try await receive() } }

    private func skip(_ count: Int) async throws(NBDLoss) {
        var rest = count
        while rest > 0 {
            if input.count == 0 { try await receive() }
            let part = min(rest, input.count)
            input.consume(part)
            rest -= part
        }
    }

    private func find(_ cookie: UInt64) throws(NBDLoss) -> NBDCall {
        guard let call = call(cookie) else { throw .violation("a reply to no request") }
        return call
    }

    // MARK: Simple replies

    private func takeSimple(_ error: UInt32, _ cookie: UInt64) async throws(NBDLoss) {
        let call = try find(cookie)
        let isRead = call.request.command == .read
        if isRead, isStructured { throw .violation("simple reply when structured reply chunk was expected") }
        if error != 0 {
            call.failure = BlockError(wire: error)
        } else if call.request.command == .blockStatus {
            throw .violation("simple reply to a question of block status")
        } else if isRead {
            return await handOver(call, .data(at: 0, count: Int(call.request.length), isLast: true))
        }
        call.tell(.ended)
    }

    // MARK: Chunks

    private func takeChunk(_ type: UInt16, _ isLast: Bool, _ cookie: UInt64, _ length: Int) async throws(NBDLoss) {
        guard isStructured else { throw .violation("structured reply chunk without negotiation") }
        let call = try find(cookie)
        switch type {
        case NBDChunk.none:
            guard length == 0, isLast else { throw .violation("invalid chunk without content") }
        case NBDChunk.offsetData, NBDChunk.offsetHole:
            guard call.request.command == .read else { throw .violation("content of what was not read") }
            let isHole = type == NBDChunk.offsetHole
            let (offset, count) = try await part(of: call, isHole: isHole, length)
            // A failure that is known spoils the last part's being the end of it.
            let ends = isLast && call.failure == nil
            if ends { try checkWhole(call) }
            await handOver(
                call,
                isHole
                    ? .hole(at: offset, count: count, isLast: ends) : .data(at: offset, count: count, isLast: ends))
            if ends { return }
        case NBDChunk.blockStatus: try await takeStatus(call, length)
        case _ where type & 1 << 15 != 0: try await takeError(call, type, length)
        default: throw .violation("chunk of an unknown type \(type)")
        }
        guard isLast, loss == nil else { return }
        if call.failure == nil {
            if call.request.command == .read { try checkWhole(call) }
            if call.request.command == .blockStatus, call.extent == nil {
                throw .violation("no extents in a reply about block status")
            }
        }
        call.tell(.ended)
    }

    private func checkWhole(_ call: NBDCall) throws(NBDLoss) {
        guard call.coverage.isWhole(UInt64(call.request.length)) else { throw .violation("a reply with parts missing") }
    }

    /// Where in a read the chunk belongs; each byte may come once.
    private func part(of call: NBDCall, isHole: Bool, _ length: Int) async throws(NBDLoss) -> (Int, Int) {
        guard isHole ? length == 12 : length > 8 && length - 8 <= Int(call.request.length) else {
            throw .violation("content of \(length) bytes")
        }
        let head = isHole ? 12 : 8
        try await need(head)
        let (offset, hole) = input.show {
            ($0.bigEndian(UInt64.self, at: 0), isHole ? $0.bigEndian(UInt32.self, at: 8) : 0)
        }
        input.consume(head)
        let asked = ByteRange(at: call.request.offset, count: UInt64(call.request.length))
        let count = isHole ? UInt64(hole) : UInt64(length - 8)
        guard count > 0, let range = ByteRange(checked: offset, count: count), asked.contains(range) else {
            throw .violation("content beside what was read")
        }
        let place = ByteRange(at: range.start - asked.start, count: count)
        guard call.coverage.add(place) else { throw .violation("content that came twice, or too scattered") }
        return (Int(place.start), Int(count))
    }

    /// Lets whoever reads take what came for them, and waits.
    private func handOver(_ call: NBDCall, _ event: NBDCall.Event) async {
        isTaken = true
        call.tell(event)
        while isTaken, loss == nil { await turn.park() }
    }

    private func takeStatus(_ call: NBDCall, _ length: Int) async throws(NBDLoss) {
        guard call.request.command == .blockStatus, call.extent == nil else {
            throw .violation("block status that nobody asked for")
        }
        // One extent is asked for; servers that send more do no harm.
        guard length >= 12, (length - 4) % 8 == 0, length <= 4 + 8 * NBDLimits.extents else {
            throw .violation("block status of \(length) bytes")
        }
        try await need(12)
        let (context, count, flags) = input.show {
            ($0.bigEndian(UInt32.self, at: 0), $0.bigEndian(UInt32.self, at: 4), $0.bigEndian(UInt32.self, at: 8))
        }
        try await skip(length)
        guard context == contextID else { throw .violation("block status of another context") }
        guard count > 0 else { throw .violation("an extent of no length") }
        call.extent = (count, flags)
    }

    private func takeError(_ call: NBDCall, _ type: UInt16, _ length: Int) async throws(NBDLoss) {
        let head = 6
        guard length >= head, length <= head + NBDLimits.stringLength + 8 else {
            throw .violation("an error of \(length) bytes")
        }
        try await need(length)
        let (error, count) = input.show {
            ($0.bigEndian(UInt32.self, at: 0), Int($0.bigEndian(UInt16.self, at: 4)))
        }
        input.consume(length)
        guard error != 0 else { throw .violation("an error that is none") }
        guard count <= length - head else { throw .violation("an error whose message is longer than itself") }
        // The first one counts.
        call.failure = call.failure ?? BlockError(wire: error)
    }
}

extension BlockError {
    /// The error of a reply: the one table.
    init(wire: UInt32) {
        switch NBDError(rawValue: wire) {
        case .permission: self = .permission
        case .io: self = .io
        case .noMemory: self = .limit
        case .noSpace: self = .noSpace
        case .overflow: self = .system(75)
        case .unsupported: self = .unsupported
        case .shutdown: self = .closed
        // The protocol has no others.
        case .invalid, nil: self = .invalid
        }
    }
}
