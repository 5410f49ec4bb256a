import Block
import Bytes

/// Writes what the layers above one image of a chain hold into that image.
struct CommitWalk {
    private let top: BlockIO
    private let base: BlockIO
    /// How deep the base lies.
    private let depth: Int
    /// Where the shortest image between top and base ends: from there on the chain reads as zeros, whatever the base holds.
    private let reach: UInt64
    private let bytesPerSecond: UInt64?

    init(_ chain: ImageChain, into depth: Int, bytesPerSecond: UInt64?) {
        top = chain.layers[0].walker
        base = chain.layers[depth].walker
        self.depth = depth
        reach = chain.layers[1..<depth].map(\.walker.length).min() ?? .max
        self.bytesPerSecond = bytesPerSecond
    }

    /// Bytes that are moved at a time: a bound for the buffer.
    private static let piece: UInt64 = 2 << 20

    /// Ends with the base durable. It grows where it is the shorter one; what it has beyond the top stays.
    func run(_ context: any IOContext, _ progress: (Double) -> Void) async throws(BlockError) {
        if base.length < top.length { try await base.resize(to: top.length) }
        var buffer = AlignedBuffer(byteCount: Int(min(Self.piece, top.length)))
        let began = context.nowNs
        var moved: UInt64 = 0
        var rest = ByteRange(at: 0, count: top.length)
        while !rest.isEmpty {
            let status = try await top.status(of: rest)
            var part = rest.prefix(status.count)
            if isAboveBase(status, at: part.start) {
                if status.flags.contains(.zero) {
                    try await base.zero(part, flags: .mayUnmap)
                } else {
                    part = part.prefix(min(Self.piece, max(512, (bytesPerSecond ?? .max) & ~511)))
                    try await move(part, &buffer)
                    moved += part.count
                    await wait(context, since: began, for: moved)
                }
            }
            rest = rest.dropping(part.count)
            progress(Double(rest.start) / Double(top.length))
        }
        try await base.finish()
    }

    /// Whether a layer above the base says what the run reads as.
    private func isAboveBase(_ status: BlockStatus, at start: UInt64) -> Bool {
        status.flags.contains(.allocated) ? status.depth < depth : start >= reach
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

    /// Waits until so many bytes may have been moved.
    private func wait(_ context: any IOContext, since began: UInt64, for moved: UInt64) async {
        guard let bytesPerSecond else { return }
        let dueMs = Double(moved) / Double(bytesPerSecond) * 1000
        let spentMs = Double(context.nowNs - began) / 1e6
        if dueMs > spentMs { await context.sleep(ms: UInt64(dueMs - spentMs)) }
    }
}
