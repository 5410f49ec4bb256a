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
        guard let memory = unsafe buffer.withUnsafeMutableBytes({ $0.baseAddress }) else { return 0 }
        // Proof: the span's memory outlives this call, which ends after the last call on it has ended.
        nonisolated(unsafe) let start = unsafe memory
        return try await inPieces(total) { [descriptor] done, count in
            unsafe Glibc.read(descriptor, start + done, count)
        }
    }

    public func write(_ bytes: RawSpan) async throws(BlockError) {
        guard let memory = unsafe bytes.withUnsafeBytes({ $0.baseAddress }) else { return }
        // Proof: as for `read`.
        nonisolated(unsafe) let start = unsafe memory
        let done: Int
        do throws(BlockError) {
            done = try await inPieces(bytes.byteCount) { [descriptor] done, count in
                unsafe Glibc.write(descriptor, start + done, count)
            }
        } catch { throw error == .system(EPIPE) ? .closed : error }
        if done < bytes.byteCount { throw .io }
    }

    /// Calls until all is moved, or nothing more comes. `call` is told how much is done and how much to move.
    private func inPieces(_ total: Int, _ call: @escaping @Sendable (Int, Int) -> Int) async throws(BlockError) -> Int {
        var done = 0
        while done < total {
            let from = done
            let count = await thread.offload {
                let count = call(from, min(total - from, 1 << 30))
                return count < 0 ? -nacre_errno() : Int32(count)
            }
            if count == -EINTR { continue }
            if count < 0 { throw BlockError(errno: -count) }
            if count == 0 { break }
            done += Int(count)
        }
        return done
    }
}
