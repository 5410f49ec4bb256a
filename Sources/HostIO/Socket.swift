public import Block
import Bytes
import CLinux
import Glibc

/// A connected socket, or any descriptor that can be polled, as a stream on an I/O thread.
///
/// Receives with recvmsg where it can, so that descriptors passed over a unix socket are kept (`takeDescriptor`).
/// Belongs to its thread, and those it takes turns with.
public final class Socket: ByteStream {
    private let thread: IOThread
    private let input: Int32
    private let output: Int32
    private let isSocket: Bool
    private var isClosed = false
    /// Set while a task waits, so that `close` can wake it.
    private var receiving: Readiness?
    private var sending: Readiness?
    private var users = 0
    private var passed: [Int32] = []
    /// The last receive emptied the socket: the next one waits first.
    private var isDrained = true

    /// How many passed descriptors one connection may hold untaken; more are closed as they come.
    private static let passedLimit = 16

    /// Takes a connected socket over; it is closed with the stream.
    public init(_ descriptor: Int32, on thread: IOThread) {
        self.thread = thread
        input = descriptor
        output = descriptor
        isSocket = true
        _ = nacre_set_nonblocking(descriptor)
        var one: Int32 = 1
        // Proof: four bytes of a local. It fails on unix sockets, which have no delay to turn off.
        _ = unsafe setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
    }

    /// Two descriptors that are not sockets, such as standard input and output.
    public init(input: Int32, output: Int32, on thread: IOThread) {
        self.thread = thread
        self.input = input
        self.output = output
        isSocket = false
        _ = nacre_set_nonblocking(input)
    }

    deinit {
        if !isClosed { release() }
        for descriptor in passed { Glibc.close(descriptor) }
    }

    public func takeDescriptor() -> Int32? { passed.isEmpty ? nil : passed.removeFirst() }

    public var localAddress: String? {
        var text = [CChar](repeating: 0, count: 64)
        // Proof: the array lives through the call, which ends what it stores with a NUL within the count.
        guard isSocket, unsafe nacre_local_address(input, &text, text.count) == 0 else { return nil }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    public func receive(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int {
        users += 1
        defer { leave() }
        while true {
            if isClosed { throw .closed }
            if !isDrained {
                let count = receiveNow(into: &buffer)
                if count >= 0 {
                    isDrained = count < buffer.byteCount
                    return count
                }
                let code = -count
                if code == Int(EINTR) { continue }
                guard code == Int(EAGAIN) else {
                    throw code == Int(ECONNRESET) ? .closed : BlockError(errno: Int32(code))
                }
            }
            isDrained = false
            await thread.ready(input, for: .readable) { receiving = $0 }
        }
    }

    /// One call; the count, or a negative errno.
    private func receiveNow(into buffer: inout MutableRawSpan) -> Int {
        let room = buffer.byteCount
        // Proof: the memory is used within the calls only; `fds` holds as many descriptors as are named.
        return unsafe buffer.withUnsafeMutableBytes { memory in
            guard isSocket else {
                let count = unsafe Glibc.read(input, memory.baseAddress, room)
                return count < 0 ? -Int(nacre_errno()) : count
            }
            return unsafe withUnsafeTemporaryAllocation(of: Int32.self, capacity: Self.passedLimit) { fds in
                var count = Int32(Self.passedLimit - passed.count)
                let got = unsafe nacre_recvmsg(input, memory.baseAddress, room, fds.baseAddress, &count)
                if got < 0 { return -Int(nacre_errno()) }
                if count > 0 { unsafe passed.append(contentsOf: fds.prefix(Int(count))) }
                return got
            }
        }
    }

    public func send(_ bytes: RawSpan) async throws(BlockError) { try await send(bytes, RawSpan()) }

    public func send(_ first: RawSpan, _ second: RawSpan) async throws(BlockError) {
        users += 1
        defer { leave() }
        var done = 0
        let total = first.byteCount + second.byteCount
        while done < total {
            if !isSocket { await thread.ready(output, for: .writable) { sending = $0 } }
            if isClosed { throw .closed }
            let count = sendNow(
                first.extracting(min(done, first.byteCount)..<first.byteCount),
                second.extracting(max(0, done - first.byteCount)..<second.byteCount))
            if count >= 0 {
                done += count
                continue
            }
            switch Int32(-count) {
            case EINTR: continue
            case EAGAIN: await thread.ready(output, for: .writable) { sending = $0 }
            case EPIPE, ECONNRESET: throw .closed
            case let code: throw BlockError(errno: code)
            }
        }
    }

    private func sendNow(_ first: RawSpan, _ second: RawSpan) -> Int {
        // Proof: the memory is used within the calls only.
        unsafe first.withUnsafeBytes { first in
            unsafe second.withUnsafeBytes { second in
                let count: Int
                if isSocket {
                    count = unsafe nacre_send2(output, first.baseAddress, first.count, second.baseAddress, second.count)
                } else {
                    // Not made non-blocking, since others may share it (standard output); a pipe that polls as writable
                    // takes a page without waiting.
                    let part = unsafe first.isEmpty ? second : first
                    count = unsafe Glibc.write(output, part.baseAddress, min(part.count, Int(PIPE_BUF)))
                }
                return count < 0 ? -Int(nacre_errno()) : count
            }
        }
    }

    public func close() {
        guard !isClosed else { return }
        isClosed = true
        if isSocket { shutdown(input, Int32(SHUT_RDWR)) }
        receiving?.cancel()
        sending?.cancel()
        // The descriptor stays open until the last call on it has left, so that its number cannot be reused under it.
        if users == 0 { release() }
    }

    private func leave() {
        users -= 1
        if users == 0, isClosed { release() }
    }

    private var isReleased = false

    private func release() {
        guard !isReleased else { return }
        isReleased = true
        isClosed = true
        Glibc.close(input)
        if output != input { Glibc.close(output) }
    }
}
