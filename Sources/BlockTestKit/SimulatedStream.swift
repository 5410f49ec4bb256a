public import Block
import Bytes

/// One end of a connection between two tasks of a simulated context: bytes arrive in chunks of arbitrary size, chosen
/// by the seed, after a simulated delay, and a sender waits while much is under way.
public final class SimulatedStream: ByteStream {
    public struct Options: Sendable {
        /// Draws chunk sizes and delays.
        public var seed: UInt64
        /// Whether bytes arrive cut up arbitrarily; else as much as there is.
        public var chunks: Bool
        /// Bytes that may be under way in one direction before a sender waits.
        public var capacity: Int

        public init(seed: UInt64 = 0, chunks: Bool = true, capacity: Int = 64 << 10) {
            self.seed = seed
            self.chunks = chunks
            self.capacity = capacity
        }
    }

    /// One direction.
    private final class Wire {
        var bytes: [UInt8] = []
        var start = 0
        /// The sending end is closed: what is there still arrives, then comes the end.
        var ended = false
        /// The receiving end is closed: nothing more is taken.
        var refused = false
        let readable = WaitQueue()
        let writable = WaitQueue()

        var count: Int { bytes.count - start }

        func take(_ count: Int, into buffer: inout MutableRawSpan) {
            buffer.copy(bytes.rawBytes.extracting(start..<start + count))
            start += count
            if start == bytes.count {
                bytes.removeAll(keepingCapacity: true)
                start = 0
            }
        }
    }

    private let context: SimulatedContext
    private let options: Options
    private var random: SeededRandom
    private let incoming: Wire
    private let outgoing: Wire
    private var closed = false
    private var receiving = false
    private var sending = false

    private init(_ context: SimulatedContext, _ options: Options, seed: UInt64, incoming: Wire, outgoing: Wire) {
        self.context = context
        self.options = options
        random = SeededRandom(seed: seed)
        self.incoming = incoming
        self.outgoing = outgoing
    }

    /// Two connected ends.
    public static func pair(_ context: SimulatedContext, _ options: Options = Options()) -> (
        SimulatedStream, SimulatedStream
    ) {
        let (there, back) = (Wire(), Wire())
        return (
            SimulatedStream(context, options, seed: options.seed ^ 0xA, incoming: back, outgoing: there),
            SimulatedStream(context, options, seed: options.seed ^ 0xB, incoming: there, outgoing: back)
        )
    }

    /// Descriptors that the peer is said to have passed; no call is made on these numbers.
    public var passed: [Int32] = []

    public func takeDescriptor() -> Int32? { passed.isEmpty ? nil : passed.removeFirst() }

    public func receive(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int {
        precondition(!receiving, "two tasks receive from one stream at once")
        precondition(buffer.byteCount > 0, "a receive into nothing cannot tell data from the end")
        receiving = true
        defer { receiving = false }
        while true {
            if closed { throw .closed }
            if incoming.count > 0 { break }
            if incoming.ended { return 0 }
            await incoming.readable.wait()
        }
        var count = min(incoming.count, buffer.byteCount)
        if options.chunks, random.chance(70) { count = 1 + random.below(min(count, 1 << random.below(14))) }
        incoming.take(count, into: &buffer)
        incoming.writable.wakeAll()
        return count
    }

    public func send(_ bytes: RawSpan) async throws(BlockError) {
        precondition(!sending, "two tasks send to one stream at once")
        sending = true
        defer { sending = false }
        var sent = 0
        repeat {
            if closed || outgoing.refused { throw .closed }
            let room = options.capacity - outgoing.count
            guard room > 0 else {
                await outgoing.writable.wait()
                continue
            }
            var count = min(room, bytes.byteCount - sent)
            if options.chunks, count > 1, random.chance(30) { count = 1 + random.below(count) }
            outgoing.bytes.append(contentsOf: bytes.extracting(sent..<sent + count).copied)
            sent += count
            outgoing.readable.wakeAll()
            if options.chunks, random.chance(20) { await context.yield() }
        } while sent < bytes.byteCount
    }

    /// The peer still receives what was sent, then the end; what it sends from now on fails.
    public func close() {
        guard !closed else { return }
        closed = true
        outgoing.ended = true
        incoming.refused = true
        for wire in [incoming, outgoing] {
            wire.readable.wakeAll()
            wire.writable.wakeAll()
        }
    }

    /// Whether this end was closed.
    public var isClosed: Bool { closed }
}
