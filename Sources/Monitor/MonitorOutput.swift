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

    /// A client that lets this many bytes of events pile up is cut off.
    private static let limit = 16 << 20

    init(_ stream: any ByteStream, _ layout: JSONValue.Layout) {
        self.stream = stream
        self.layout = layout
    }

    func add(_ value: JSONValue) {
        guard !isBroken else { return }
        for byte in value.text(layout).utf8 {
            // Lines end in CR LF on the wire, those of the pretty layout too.
            if byte == 0x0A { waiting.append(0x0D) }
            waiting.append(byte)
        }
        waiting.append(contentsOf: [0x0D, 0x0A])
        if waiting.count > Self.limit { fail() } else { work.wakeOne() }
    }

    private func fail() {
        isBroken = true
        waiting = []
        stream.close()
        work.wakeAll()
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
        }
        hasEnded = true
        drained.wakeAll()
    }

    /// Waits until all is sent: a client that does not read its replies is not read from.
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
