import Block
import Bytes

extension CrashRun {
    /// Gives the disk a new size as the tool does: what it gains gets its place, what it loses goes from the file as well. What
    /// the guest reads does not change by that, at no point.
    func refit(to size: UInt64, _ mode: Preallocation) async throws {
        let old = chain.io.length
        let resizing: [Verb] = size == old ? [] : [size < old ? .shrink : mode == .off ? .grow : .growPreallocated]
        verbs.begin(resizing)
        defer { verbs.end(resizing) }
        try await resize(to: size)
        // Where something was found wrong meanwhile, the run has ended, and the chain with it.
        try await drain()
        guard chain.io.length == size else { return }
        let io = chain.io
        do throws(BlockError) {
            if size > old {
                try await io.preallocate(ByteRange(from: old, to: size), mode)
            } else {
                try await io.cutTail()
            }
        } catch {
            flushFailed = flushFailed || chain.hasFailedFlush
            try excuse(error, "the room for \(size) bytes")
        }
    }
}
