import Bytes
import NBDWire

/// One chunk of a structured reply.
struct Chunk: Equatable {
    var type: UInt16
    var payload: [UInt8]
}

/// All that was answered to one request.
struct Answer {
    /// 0, or an error's number.
    var error: UInt32
    var chunks: [Chunk] = []
    /// What a read returned, holes as zeros.
    var data: [UInt8] = []
    /// The parts of a read that came as holes.
    var holes: [ByteRange] = []
    /// Block status, by context id.
    var status: [UInt32: [Extent]] = [:]
    private var covered: [ByteRange] = []

    struct Extent: Equatable {
        var length: UInt32
        var flags: UInt32
        init(_ length: UInt32, _ flags: UInt32) { (self.length, self.flags) = (length, flags) }
    }

    init(error: UInt32) { self.error = error }

    var failure: NBDError? { NBDError(rawValue: error) }

    /// Takes a chunk, held to what the protocol says of it and of the request.
    mutating func add(_ chunk: Chunk, isDone: Bool, _ request: NBDRequest, contexts: Set<UInt32>) throws {
        chunks.append(chunk)
        switch chunk.type {
        case NBDChunk.none:
            guard chunk.payload.isEmpty, isDone else { throw Violation("NONE with a payload, or not the last") }
        case NBDChunk.offsetData, NBDChunk.offsetHole:
            try addContent(chunk, request)
        case NBDChunk.blockStatus:
            try addStatus(chunk, request)
        case NBDChunk.error:
            error = chunk.payload.byteSpan.bigEndian(at: 0)
            let length = Int(chunk.payload.byteSpan.bigEndian(UInt16.self, at: 4))
            guard error != 0, chunk.payload.count == 6 + length else { throw Violation("error \(chunk.payload)") }
        default:
            throw Violation("chunk type \(chunk.type)")
        }
        guard isDone, error == 0 else { return }
        if request.command == .read, covered.reduce(0, { $0 + $1.count }) != UInt64(request.length) {
            throw Violation("a read of \(request.length) bytes got \(covered)")
        }
        if request.command == .blockStatus, Set(status.keys) != contexts { throw Violation("status of \(status.keys)") }
    }

    private mutating func addContent(_ chunk: Chunk, _ request: NBDRequest) throws {
        guard request.command == .read, chunk.payload.count > 8 else { throw Violation("content of no bytes") }
        let offset = chunk.payload.byteSpan.bigEndian(UInt64.self, at: 0)
        let isHole = chunk.type == NBDChunk.offsetHole
        var bytes = Array(chunk.payload.dropFirst(8))
        if isHole {
            guard bytes.count == 4, bytes.firstNumber() > 0 else { throw Violation("hole \(chunk.payload)") }
            bytes = [UInt8](repeating: 0, count: Int(bytes.firstNumber()))
        }
        let range = ByteRange(at: offset, count: UInt64(bytes.count))
        let whole = ByteRange(at: request.offset, count: UInt64(request.length))
        guard whole.contains(range), !covered.contains(where: { $0.overlaps(range) }) else {
            throw Violation("content \(range) of a read of \(whole), behind \(covered)")
        }
        if request.flags.contains(.dontFragment), isHole || !covered.isEmpty {
            throw Violation("a fragmented reply to a read that forbade it")
        }
        covered.append(range)
        if isHole { holes.append(range) }
        if data.isEmpty { data = [UInt8](repeating: 0, count: Int(request.length)) }
        let from = Int(offset - request.offset)
        data.replaceSubrange(from..<from + bytes.count, with: bytes)
    }

    private mutating func addStatus(_ chunk: Chunk, _ request: NBDRequest) throws {
        guard request.command == .blockStatus, chunk.payload.count >= 12, chunk.payload.count % 8 == 4 else {
            throw Violation("status of \(chunk.payload.count) bytes")
        }
        let context = chunk.payload.byteSpan.bigEndian(UInt32.self, at: 0)
        guard status[context] == nil else { throw Violation("context \(context) twice") }
        var extents: [Extent] = []
        var total: UInt64 = 0
        for at in stride(from: 4, to: chunk.payload.count, by: 8) {
            let extent = Extent(chunk.payload.byteSpan.bigEndian(at: at), chunk.payload.byteSpan.bigEndian(at: at + 4))
            guard extent.length > 0, total < UInt64(request.length) else { throw Violation("extent \(extent)") }
            total += UInt64(extent.length)
            extents.append(extent)
        }
        guard total <= UInt64(request.length) else { throw Violation("status of more than was asked") }
        if request.flags.contains(.reqOne), extents.count != 1 { throw Violation("\(extents.count) extents, not one") }
        status[context] = extents
    }
}
