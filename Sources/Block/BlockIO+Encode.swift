import Bytes
import Synchronization

/// What a worker hands back.
private final class EncodedBox: Sendable {
    let bytes = Mutex<[UInt8]?>(nil)
}

/// Whole clusters of one request that are encoded ahead, several at once on the context's workers, and are taken in the
/// order in which they were given.
private final class EncodingQueue {
    private final class Piece {
        var result: [UInt8]?
        var isDone = false
        let parking = Parking()
    }

    private let context: any IOContext
    private let encoder: ClusterEncoding
    private var pieces: [Piece] = []

    init(_ context: any IOContext, _ encoder: @escaping ClusterEncoding) {
        self.context = context
        self.encoder = encoder
    }

    var count: Int { pieces.count }

    /// Begins to encode a cluster.
    func add(_ cluster: [UInt8]) {
        let piece = Piece()
        pieces.append(piece)
        let (context, encoder) = (context, encoder)
        context.spawn {
            let box = EncodedBox()
            _ = await context.offload {
                let encoded = encoder(cluster)
                box.bytes.withLock { $0 = encoded }
                return 0
            }
            piece.result = box.bytes.withLock { $0 }
            piece.isDone = true
            piece.parking.wake()
        }
    }

    /// The next cluster, encoded; nil where that does not make it smaller.
    func next() async -> [UInt8]? {
        let piece = pieces.removeFirst()
        while !piece.isDone { await piece.parking.park() }
        return piece.result
    }
}

extension BlockIO {
    /// Clusters that one request has encoded ahead, at most; and their bytes together, but for two.
    private static var mostAhead: Int { 8 }
    private static var mostBytesAhead: UInt64 { 4 << 20 }

    /// Writes whole clusters encoded. Those that do not become smaller are written as they are.
    func writeEncoded(_ range: ByteRange, of format: any ImageFormat, from bytes: RawSpan) async throws(BlockError) {
        let unit = format.limits.encodedUnit
        guard let encoder = format.encoder, unit > 0 else { throw .unsupported }
        guard range.start % unit == 0, range.end % unit == 0 || range.end == length else { throw .invalid }
        if case .now = format.commitUrgency { try await flush() }
        var walk = Walk(token: format.beginRequest())
        defer {
            format.endRequest(walk.token)
            scheduleCommit(format)
        }
        let queue = EncodingQueue(context, encoder)
        let ahead = max(2, min(Self.mostAhead, Int(Self.mostBytesAhead / unit)))
        var (coming, rest) = (range, range)
        while !rest.isEmpty {
            while queue.count < ahead, !coming.isEmpty {
                let part = coming.prefix(unit)
                let from = Int(part.start - range.start)
                var cluster = bytes.extracting(from..<from + Int(part.count)).array
                // What lies behind the disk's end reads as zeros.
                cluster.append(contentsOf: repeatElement(0, count: Int(unit) - cluster.count))
                queue.add(cluster)
                coming = coming.dropping(part.count)
            }
            let part = rest.prefix(unit)
            let from = Int(part.start - range.start)
            if let encoded = await queue.next() {
                try await write(part, of: format, encoded: encoded, &walk)
            } else {
                try await write(part, of: format, from: bytes.extracting(from..<from + Int(part.count)), &walk)
            }
            rest = rest.dropping(part.count)
        }
    }

    /// Writes one encoded cluster to a place of its own, whatever it had before.
    private func write(_ cluster: ByteRange, of format: any ImageFormat, encoded: [UInt8], _ walk: inout Walk)
        async throws(BlockError)
    {
        while true {
            if let refusal = format.writeRefusal { throw refusal }
            do throws(BlockError) {
                switch format.allocate(encoded: UInt64(encoded.count), for: cluster) {
                case .needs(let need): try await format.resolve(need)
                case .busy: await format.settle(cluster)
                case .failed(let failure): throw failure
                case .ticket(let ticket): return try await place(ticket, in: format, encoded: encoded)
                }
            } catch .noSpace {
                try await reclaim(format, &walk)
            }
        }
    }

    private func place(_ ticket: consuming AllocationTicket, in format: any ImageFormat, encoded: [UInt8])
        async throws(BlockError)
    {
        var failure: BlockError?
        do throws(BlockError) {
            guard let file else { throw .noMedium }
            var buffer = AlignedBuffer(byteCount: encoded.count)
            var span = buffer.mutableBytes
            span.copy(encoded.byteSpan)
            await file.reach(.writeCompressed)
            try await file.write(at: ticket.offset, from: buffer.bytes, flags: [])
        } catch { failure = error }
        if let failure {
            format.abandon(ticket)
            throw failure
        }
        format.publish(ticket)
    }
}
