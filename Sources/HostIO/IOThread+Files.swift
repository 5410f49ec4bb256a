public import Block
import Bytes
import CLinux
import Glibc

/// Which way the calls on one file go.
public enum FileEngine: Sendable { case ring, threads }

extension IOThread {
    /// Fills `buffer` from `offset` of the file; what lies past its end reads as zeros.
    public func read(_ file: Int32, at offset: UInt64, into buffer: inout MutableRawSpan, engine: FileEngine)
        async throws(BlockError)
    {
        // Proof: the span's memory outlives this call, which ends after the last operation on it has completed.
        guard let memory = unsafe buffer.withUnsafeMutableBytes({ $0.baseAddress }) else { return }
        let total = buffer.byteCount
        var done = 0
        while done < total {
            let piece = unsafe memory + done
            let count = unsafe await perform(.read(file, piece, total - done, at: offset + UInt64(done)), engine)
            if count == -EINTR || count == -EAGAIN { continue }
            if count < 0 { throw BlockError(errno: -count) }
            if count == 0 {
                unsafe piece.initializeMemory(as: UInt8.self, repeating: 0, count: total - done)
                return
            }
            done += Int(count)
        }
    }

    /// Reads in place what the page cache holds, without waiting for the device. False where it does not hold all.
    public func readCached(_ file: Int32, at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
        let total = buffer.byteCount
        // Proof: the memory is used within the call only.
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe nacre_pread_cached(file, $0.baseAddress, total, Int64(bitPattern: offset))
        }
        return count == total
    }

    /// Writes in place, into the page cache. False where not all was written. The thread waits where the kernel wants it to.
    public func writeCached(_ file: Int32, at offset: UInt64, from bytes: RawSpan) -> Bool {
        guard engine.allowsCallsInPlace else { return false }
        // Proof: the memory is used within the call only.
        let count = unsafe bytes.withUnsafeBytes {
            unsafe nacre_pwritev(file, $0.baseAddress, $0.count, Int64(bitPattern: offset))
        }
        return count == bytes.byteCount
    }

    /// How often this thread has gone to sleep, for comparison.
    public var waits: Int { nacre_thread_waits() }

    /// Stores `bytes` at `offset` of the file; with `dsync` they are durable on return.
    public func write(_ file: Int32, at offset: UInt64, from bytes: RawSpan, dsync: Bool, engine: FileEngine)
        async throws(BlockError)
    {
        // Proof: as for `read`.
        guard let memory = unsafe bytes.withUnsafeBytes({ $0.baseAddress }) else { return }
        let total = bytes.byteCount
        var done = 0
        while done < total {
            let piece = unsafe memory + done
            let operation = unsafe FileOperation.write(
                file, piece, total - done, at: offset + UInt64(done), dsync: dsync && engine == .ring)
            let count = unsafe await perform(operation, engine)
            if count == -EINTR || count == -EAGAIN { continue }
            if count < 0 { throw BlockError(errno: -count) }
            if count == 0 { throw .noSpace }
            done += Int(count)
        }
        if dsync && engine == .threads { try await fdatasync(file, engine: engine) }
    }

    public func fdatasync(_ file: Int32, engine: FileEngine) async throws(BlockError) {
        unsafe try await checked(.fdatasync(file), engine)
    }

    /// `mode` as fallocate(2) takes it.
    public func fallocate(_ file: Int32, mode: Int32, at offset: UInt64, count: UInt64, engine: FileEngine)
        async throws(BlockError)
    {
        unsafe try await checked(.fallocate(file, mode: mode, at: offset, count: count), engine)
    }

    /// Makes a blocking call on a thread of the pool; the call answers 0 or more, or a negative errno.
    public func offload(_ work: @escaping @Sendable () -> Int32) async -> Int32 {
        await suspend { (waiter: Suspension<Int32>) in
            let thread = here
            let id = thread.operations.add(waiter)
            thread.pool.add { thread.postCompletion(id, work()) }
        }
    }

    private func checked(_ operation: FileOperation, _ engine: FileEngine) async throws(BlockError) {
        while true {
            let code = unsafe await perform(operation, engine)
            if code == -EINTR || code == -EAGAIN { continue }
            if code < 0 { throw BlockError(errno: -code) }
            return
        }
    }

    private func perform(_ operation: FileOperation, _ choice: FileEngine) async -> Int32 {
        if choice == .threads || !engine.isRing {
            // Proof: the memory named in the operation is valid until it completes; the task waits for that.
            nonisolated(unsafe) let operation = unsafe operation
            return await offload { unsafe operation.call() }
        }
        return await suspend { (waiter: Suspension<Int32>) in
            let thread = here
            unsafe thread.engine.submit(operation, id: thread.operations.add(waiter))
        }
    }
}

extension FileOperation {
    /// The operation as one call of libc, for the pool: interposers and tracers see each.
    func call() -> Int32 {
        let result: Int
        switch unsafe self {
        case .read(let file, let memory, let count, let offset):
            result = unsafe nacre_preadv(file, memory, count, Int64(bitPattern: offset))
        case .write(let file, let memory, let count, let offset, _):
            result = unsafe nacre_pwritev(file, memory, count, Int64(bitPattern: offset))
        case .fdatasync(let file):
            result = Int(Glibc.fdatasync(file))
        case .fallocate(let file, let mode, let offset, let count):
            result = Int(nacre_fallocate(file, mode, Int64(bitPattern: offset), Int64(bitPattern: count)))
        }
        return result < 0 ? -nacre_errno() : Int32(clamping: result)
    }
}
