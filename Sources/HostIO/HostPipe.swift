public import Block
import CLinux
import Glibc

/// A descriptor that is read or written front to back: standard input or output, whatever stands behind it. Calls are made
/// on threads of the pool and may wait there as long as the other end lets them; so megabytes go in one call.
public final class HostPipe: BytePipe {
    private let thread: IOThread
    private let descriptor: Int32

    /// The descriptor stays its owner's.
    public init(_ descriptor: Int32, on thread: IOThread) {
        self.thread = thread
        self.descriptor = descriptor
    }

    /// Standard input and output.
    public static func input(on thread: IOThread) -> HostPipe { HostPipe(STDIN_FILENO, on: thread) }
    public static func output(on thread: IOThread) -> HostPipe { HostPipe(STDOUT_FILENO, on: thread) }

    public func read(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int {
        let total = buffer.byteCount
        // Proof: the span's memory outlives this call, which ends after the last call on it has ended.
        nonisolated(unsafe) let memory = unsafe buffer.withUnsafeMutableBytes { $0.baseAddress }
        guard let memory = unsafe memory else { return 0 }
        let descriptor = self.descriptor
        var done = 0
        while done < total {
            let from = done
            nonisolated(unsafe) let place = unsafe memory + from
            let count = await thread.offload {
                let count = unsafe Glibc.read(descriptor, place, min(total - from, 1 << 30))
                return count < 0 ? -nacre_errno() : Int32(count)
            }
            if count == -EINTR { continue }
            if count < 0 { throw BlockError(errno: -count) }
            if count == 0 { break }
            done += Int(count)
        }
        return done
    }

    public func write(_ bytes: RawSpan) async throws(BlockError) {
        let total = bytes.byteCount
        // Proof: as for `read`.
        nonisolated(unsafe) let memory = unsafe bytes.withUnsafeBytes { $0.baseAddress }
        guard let memory = unsafe memory else { return }
        let descriptor = self.descriptor
        var done = 0
        while done < total {
            let from = done
            nonisolated(unsafe) let place = unsafe memory + from
            let count = await thread.offload {
                let count = unsafe Glibc.write(descriptor, place, min(total - from, 1 << 30))
                return count < 0 ? -nacre_errno() : Int32(count)
            }
            if count == -EINTR { continue }
            if count == -EPIPE { throw .closed }
            if count < 0 { throw BlockError(errno: -count) }
            done += Int(count)
        }
    }
}
