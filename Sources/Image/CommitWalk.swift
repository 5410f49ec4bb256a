import Block
import Bytes
import Graph
import Qcow2

/// Writes what the layers above one image of a chain hold into that image.
///
/// Unit by unit of the base, as QEMU does, so that the base comes to hold the same clusters: a unit in which anything
/// above the base says something is zeroed with its neighbours where they read as zeros as far as whole clusters go, and copied
/// else.
struct CommitWalk {
    private let top: BlockIO
    private let base: BlockIO
    /// How deep the base lies.
    private let depth: Int
    /// Where the shortest image between top and base ends: from there on the chain reads as zeros, whatever the base holds.
    private let reach: UInt64
    /// Bytes of the base's clusters, and of a unit.
    private let cluster: UInt64
    private let unit: UInt64
    private let bytesPerSecond: UInt64?

    init(_ chain: ImageChain, into depth: Int, bytesPerSecond: UInt64?) {
        top = chain.layers[0].walker
        base = chain.layers[depth].walker
        self.depth = depth
        reach = chain.layers[1..<depth].map(\.walker.length).min() ?? .max
        cluster = chain.layers[depth].image?.info.clusterSize ?? 1
        unit = min(max(chain.layers[depth].image?.info.clusterSize ?? .max, 4096), 65536)
        self.bytesPerSecond = bytesPerSecond
    }

    /// Bytes that are moved at a time: a bound for the buffer.
    private static let piece: UInt64 = 2 << 20

    /// Ends with the base durable. It grows where it is the shorter one; what it has beyond the top stays.
    func run(_ context: any IOContext, _ progress: (Double) -> Void) async throws(BlockError) {
        if base.length < top.length { try await base.resize(to: top.length) }
        var buffer = AlignedBuffer(byteCount: Int(min(Self.piece, top.length)))
        var pace = Allowance(context, bytesPerSecond)
        var rest = ByteRange(at: 0, count: top.length)
        while !rest.isEmpty {
            let status = try await top.status(of: rest)
            let part = rest.prefix(status.count)
            var end = part.end
            if isAboveBase(status, at: part.start) {
                end = min(end.roundedUp(to: unit) ?? top.length, top.length)
                try await commit(ByteRange(from: part.start.roundedDown(to: unit), to: end), &buffer, &pace)
            }
            rest = ByteRange(from: end, to: top.length)
            progress(Double(end) / Double(top.length))
        }
        try await base.finish()
    }

    /// Whether a layer above the base says what the run reads as.
    private func isAboveBase(_ status: BlockStatus, at start: UInt64) -> Bool {
        status.flags.contains(.allocated) ? status.depth < depth : start >= reach
    }

    private func commit(_ units: ByteRange, _ buffer: inout AlignedBuffer, _ pace: inout Allowance)
        async throws(BlockError)
    {
        var rest = units
        while !rest.isEmpty {
            let status = try await top.status(of: rest)
            let whole = rest.prefix(status.count.roundedDown(to: unit))
            if !whole.isEmpty, status.flags.contains(.zero), !status.flags.contains(.data), whole.isAligned(to: cluster)
            {
                try await base.zero(whole, flags: .mayUnmap)
                rest = rest.dropping(whole.count)
            } else {
                let part = rest.prefix(min(max(whole.count, unit), pace.most(Self.piece)))
                try await move(part, &buffer)
                await pace.wait(for: part.count)
                rest = rest.dropping(part.count)
            }
        }
    }

    private func move(_ part: ByteRange, _ buffer: inout AlignedBuffer) async throws(BlockError) {
        let count = Int(part.count)
        do {
            var whole = buffer.mutableBytes
            var target = whole._mutatingExtracting(0..<count)
            try await top.read(at: part.start, into: &target)
        }
        try await base.write(at: part.start, from: buffer.bytes.extracting(0..<count), flags: [])
    }

    /// How many bytes may be moved, as time goes on.
    private struct Allowance {
        private let context: any IOContext
        private let bytesPerSecond: UInt64?
        private let beganNs: UInt64
        private var moved: UInt64 = 0

        init(_ context: any IOContext, _ bytesPerSecond: UInt64?) {
            (self.context, self.bytesPerSecond, beganNs) = (context, bytesPerSecond, context.nowNs)
        }

        /// What may be moved at once, where `limit` could be: a second's worth.
        func most(_ limit: UInt64) -> UInt64 { min(limit, max(512, (bytesPerSecond ?? .max) & ~511)) }

        /// Waits until so many bytes more may have been moved.
        mutating func wait(for count: UInt64) async {
            guard let bytesPerSecond else { return }
            moved += count
            let dueMs = Double(moved) / Double(bytesPerSecond) * 1000
            let spentMs = Double(context.nowNs - beganNs) / 1e6
            if dueMs > spentMs { await context.sleep(ms: UInt64(dueMs - spentMs)) }
        }
    }
}
