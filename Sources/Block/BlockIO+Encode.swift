import Bytes
import Synchronization

/// What a worker hands back.
private final class EncodedBox: Sendable {
    let clusters = Mutex<[[UInt8]?]>([])
}

/// Whole clusters of one request that are encoded ahead, several at once on the context's workers, and are taken in the
/// order in which they were given.
private final class EncodingQueue {
    /// Clusters that one worker encodes in one go: waking it costs as much as a small one's work.
    private final class Batch {
        var results: [[UInt8]?] = []
        var isDone = false
        let parking = Parking()
    }

    private let context: any IOContext
    private let encoder: ClusterEncoding
    private var batches: [Batch] = []

    init(_ context: any IOContext, _ encoder: @escaping ClusterEncoding) {
        self.context = context
        self.encoder = encoder
    }

    /// Batches under way.
    var count: Int { batches.count }

    /// Begins to encode some clusters.
    func add(_ clusters: [[UInt8]]) {
        let batch = Batch()
        batches.append(batch)
        let (context, encoder) = (context, encoder)
        context.spawn {
            let box = EncodedBox()
            _ = await context.offload {
                let encoded = clusters.map(encoder)
                box.clusters.withLock { $0 = encoded }
                return 0
            }
            batch.results = box.clusters.withLock { $0 }
            batch.isDone = true
            batch.parking.wake()
        }
    }

    /// The next batch, encoded; nil for a cluster that does not become smaller.
    func next() async -> [[UInt8]?] {
        let batch = batches.removeFirst()
        while !batch.isDone { await batch.parking.park() }
        return batch.results
    }
}

extension BlockIO {
    /// Batches that one request has encoded ahead, at most; their bytes together, but for two; and the bytes of one, but for
    /// its last cluster.
    private static var mostAhead: Int { 8 }
    private static var mostBytesAhead: UInt64 { 4 << 20 }
    private static var batchBytes: UInt64 { 256 << 10 }

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
        let batch = max(unit, min(Self.batchBytes, (range.count / 4).roundedDown(to: unit)))
        let ahead = max(2, min(Self.mostAhead, Int(Self.mostBytesAhead / batch)))
        var (coming, rest) = (range, range)
        while !rest.isEmpty {
            while queue.count < ahead, !coming.isEmpty {
                let part = coming.prefix(batch)
                queue.add(
                    clusters(of: part, from: bytes.extracting(Int(part.start - range.start)..<bytes.byteCount), unit))
                coming = coming.dropping(part.count)
            }
            for encoded in await queue.next() {
                let part = rest.prefix(unit)
                let from = Int(part.start - range.start)
                if let encoded {
                    try await write(part, of: format, encoded: encoded, &walk)
                } else {
                    try await write(part, of: format, from: bytes.extracting(from..<from + Int(part.count)), &walk)
                }
                rest = rest.dropping(part.count)
            }
        }
    }

    /// The clusters of a range, whose bytes begin with `bytes`. What lies behind the disk's end reads as zeros.
    private func clusters(of range: ByteRange, from bytes: RawSpan, _ unit: UInt64) -> [[UInt8]] {
        var clusters: [[UInt8]] = []
        var offset = 0
        while offset < Int(range.count) {
            var cluster = bytes.extracting(offset..<min(offset + Int(unit), Int(range.count))).array
            if cluster.count < Int(unit) {
                cluster.append(contentsOf: repeatElement(0, count: Int(unit) - cluster.count))
            }
            clusters.append(cluster)
            offset += Int(unit)
        }
        return clusters
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
            await file.reach(.writeCompressed)
            if file.limits.memoryAlignment == 1 {
                try await file.write(at: ticket.offset, from: encoded.byteSpan, flags: [])
            } else {
                var buffer = AlignedBuffer(byteCount: encoded.count)
                var span = buffer.mutableBytes
                span.copy(encoded.byteSpan)
                try await file.write(at: ticket.offset, from: buffer.bytes, flags: [])
            }
        } catch { failure = error }
        if let failure {
            format.abandon(ticket)
            throw failure
        }
        format.publish(ticket)
    }
}
