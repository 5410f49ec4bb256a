import Block
import Bytes
import JSON

/// What a session sends, in order: replies and events share one queue, so that an event raised by a command leaves
/// before its reply.
final class MonitorOutput {
    private let stream: any ByteStream
    private let layout: JSONValue.Layout
    private var waiting: [UInt8] = []
    private var isSending = false
    private var isFinishing = false
    private(set) var isBroken = false
    private var hasEnded = false
    private let work = WaitQueue()
    private let drained = WaitQueue()
    private let roomy = WaitQueue()

    /// A client that lets this many bytes pile up is sent no further event but cut off. Replies need no limit: no
    /// command begins while much is waiting.
    private static let eventLimit = 16 << 20
    /// No command begins while more than this waits to be sent: room for a client that sends a batch before it reads,
    /// and a bound for one that never reads.
    private static let congestion = 1 << 20

    init(_ stream: any ByteStream, _ layout: JSONValue.Layout) {
        self.stream = stream
        self.layout = layout
    }

    func add(_ value: JSONValue, isEvent: Bool = false) {
        guard !isBroken else { return }
        if isEvent && waiting.count > Self.eventLimit { return fail() }
        let text = value.bytes(layout)
        if layout == .compact {
            waiting.append(contentsOf: text)
        } else {
            // Lines end in CR LF on the wire, those of the pretty layout too.
            for byte in text {
                if byte == 0x0A { waiting.append(0x0D) }
                waiting.append(byte)
            }
        }
        waiting.append(contentsOf: [0x0D, 0x0A])
        work.wakeOne()
    }

    private func fail() {
        isBroken = true
        waiting = []
        stream.close()
        work.wakeAll()
        roomy.wakeAll()
    }

    func run() async {
        while !(isFinishing && waiting.isEmpty) {
            if waiting.isEmpty {
                drained.wakeAll()
                await work.wait()
                continue
            }
            let bytes = waiting
            waiting = []
            isSending = true
            do { try await stream.send(bytes.byteSpan) } catch { fail() }
            isSending = false
            roomy.wakeAll()
        }
        hasEnded = true
        drained.wakeAll()
        roomy.wakeAll()
    }

    /// Waits while much is waiting to be sent.
    func waitForRoom() async {
        while waiting.count > Self.congestion && !isBroken && !hasEnded { await roomy.wait() }
    }

    /// Waits until all is sent.
    func drain() async {
        while (!waiting.isEmpty || isSending) && !hasEnded { await drained.wait() }
    }

    /// Sends what waits and ends.
    func finish() async {
        isFinishing = true
        work.wakeAll()
        while !hasEnded { await drained.wait() }
    }
}
