import Block
import Bytes

extension ImageTool {
    /// `bench`: sends requests to an image and says how long they took.
    public func bench(_ request: BenchRequest) async throws(ImageError) {
        try request.check()
        guard request.writes else {
            let chain = try await open(request.image)
            var failure: ImageError?
            do throws(ImageError) { try await bench(request, chain.top) } catch { failure = error }
            await chain.close()
            if let failure { throw failure }
            return
        }
        let target = try await TargetImage.open(request.image, self)
        do throws(ImageError) { try await bench(request, target.walker) } catch {
            await target.abandon()
            throw error
        }
        try await target.finish()
    }

    private func bench(_ request: BenchRequest, _ disk: any Storage) async throws(ImageError) {
        let step = request.step == 0 ? request.size : request.step
        output(
            "Sending \(request.count) \(request.writes ? "write" : "read") requests, \(request.size) bytes each, "
                + "\(request.depth) in parallel (starting at offset \(request.offset), step size \(step))\n")
        if request.flushInterval > 0 { output("Sending flush every \(request.flushInterval) requests\n") }
        let load = BenchLoad(request, step: step, disk, context)
        let start = context.nowNs
        try await load.run()
        output("Run completed in \(Self.thousandths(context.nowNs - start)) seconds.\n")
    }

    private static func thousandths(_ ns: UInt64) -> String {
        let ms = (ns + 500_000) / 1_000_000
        return "\(ms / 1000).\(String(1000 + ms % 1000).dropFirst())"
    }
}

/// The requests of one run: as many workers as there are requests at once.
private final class BenchLoad {
    private let request: BenchRequest
    private let step: UInt64
    private let disk: any Storage
    private let context: any IOContext
    private var sent: UInt64 = 0
    private var ended: UInt64 = 0
    private var next: UInt64
    private var failure: BlockError?
    private var running = 0
    /// Requests and flushes that have no worker to wait for.
    private let changed = WaitQueue()

    init(_ request: BenchRequest, step: UInt64, _ disk: any Storage, _ context: any IOContext) {
        self.request = request
        self.step = step
        self.disk = disk
        self.context = context
        next = request.offset
    }

    func run() async throws(ImageError) {
        for _ in 0..<min(request.depth, request.count) {
            running += 1
            context.spawn {
                await self.work()
                self.running -= 1
                self.changed.wakeAll()
            }
        }
        while running > 0 { await changed.wait() }
        if let failure { throw ImageError("Failed request: \(failure.benchSentence)") }
    }

    private func work() async {
        var buffer = AlignedBuffer(byteCount: Int(request.size))
        var span = buffer.mutableBytes
        span.fill(request.pattern)
        do throws(BlockError) {
            while failure == nil, sent < request.count {
                // Requests up to the next flush are sent, and no further.
                if request.flushInterval > 0, request.drains, sent >= limit {
                    await changed.wait()
                    continue
                }
                let offset = next
                sent += 1
                next += step
                if disk.length > 0 { next %= disk.length }
                guard let place = ByteRange(checked: offset, count: request.size), place.end <= disk.length else {
                    throw .outOfRange
                }
                if request.writes {
                    try await disk.write(at: offset, from: span.bytes, flags: [])
                } else {
                    try await disk.read(at: offset, into: &span)
                }
                ended += 1
                try await flush()
            }
        } catch {
            failure = failure ?? error
        }
        changed.wakeAll()
    }

    /// How many requests may have been sent before the next flush has ended.
    private var limit: UInt64 { (flushes + 1) * max(request.flushInterval, 1) }
    private var flushes: UInt64 = 0

    /// The request that ends an interval flushes; where they are drained, no other is under way then.
    private func flush() async throws(BlockError) {
        guard request.flushInterval > 0, ended % request.flushInterval == 0 else { return }
        try await disk.flush()
        flushes += 1
        changed.wakeAll()
    }
}

extension BlockError {
    /// A request past the end fails with the error that qemu-img gives it.
    fileprivate var benchSentence: String { self == .outOfRange ? BlockError.io.sentence : sentence }
}
