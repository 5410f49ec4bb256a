public import Block
public import Bytes
import Filters
import Graph

// Requests: counted, held to the limits, and sent to the medium. Nothing here starts a task or allocates.
extension Device {
    /// 0 while no medium is in reach.
    public var length: UInt64 { reach?.length ?? 0 }
    public var limits: StorageLimits { reach?.limits ?? StorageLimits() }

    public func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        let startNs = context.nowNs
        let byteCount = UInt64(buffer.byteCount)
        let medium = reach
        do throws(BlockError) {
            guard let medium else { throw .noMedium }
            try checkEnd(offset, byteCount, medium)
            if let throttle { try await admit(throttle, medium, byteCount, isWrite: false) }
            try await medium.read(at: offset, into: &buffer)
        } catch {
            throw failed(.read, error, medium, startNs)
        }
        statistics.succeed(.read, byteCount, from: startNs, to: context.nowNs)
    }

    public func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        let startNs = context.nowNs
        let byteCount = UInt64(bytes.byteCount)
        let medium = reach
        do throws(BlockError) {
            guard let medium else { throw .noMedium }
            try checkEnd(offset, byteCount, medium)
            if let throttle { try await admit(throttle, medium, byteCount, isWrite: true) }
            try await medium.write(at: offset, from: bytes, flags: flags)
        } catch {
            throw failed(.write, error, medium, startNs)
        }
        statistics.succeed(.write, byteCount, from: startNs, to: context.nowNs)
    }

    /// Where no limits hold requests back.
    public func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
        let startNs = context.nowNs
        let byteCount = UInt64(buffer.byteCount)
        guard throttle == nil, let medium = reach, endsWithin(offset, byteCount, medium),
            medium.readNow(at: offset, into: &buffer)
        else { return false }
        statistics.succeed(.read, byteCount, from: startNs, to: context.nowNs)
        return true
    }

    public func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool {
        let startNs = context.nowNs
        let byteCount = UInt64(bytes.byteCount)
        guard throttle == nil, let medium = reach, endsWithin(offset, byteCount, medium),
            medium.writeNow(at: offset, from: bytes)
        else { return false }
        statistics.succeed(.write, byteCount, from: startNs, to: context.nowNs)
        return true
    }

    public func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await zero(range, flags: flags, as: .write)
    }

    public func unmap(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await zero(range, flags: flags.union(.mayUnmap), as: .unmap)
    }

    private func zero(_ range: ByteRange, flags: ZeroFlags, as operation: DeviceStatistics.Operation)
        async throws(BlockError)
    {
        let startNs = context.nowNs
        let medium = reach
        do throws(BlockError) {
            guard let medium else { throw .noMedium }
            try checkEnd(range.start, range.count, medium)
            if let throttle { try await admit(throttle, medium, range.count, isWrite: true) }
            try await medium.zero(range, flags: flags)
        } catch {
            throw failed(operation, error, medium, startNs)
        }
        statistics.succeed(operation, range.count, from: startNs, to: context.nowNs)
    }

    public func discard(_ range: ByteRange) async throws(BlockError) {
        let startNs = context.nowNs
        let medium = reach
        do throws(BlockError) {
            guard let medium else { throw .noMedium }
            try checkEnd(range.start, range.count, medium)
            try await medium.discard(range)
        } catch {
            throw failed(.unmap, error, medium, startNs)
        }
        statistics.succeed(.unmap, range.count, from: startNs, to: context.nowNs)
    }

    public func flush() async throws(BlockError) {
        let startNs = context.nowNs
        let medium = reach
        do throws(BlockError) {
            guard let medium else { throw .noMedium }
            try await medium.flush()
        } catch {
            throw failed(.flush, error, medium, startNs)
        }
        statistics.succeed(.flush, 0, from: startNs, to: context.nowNs)
    }

    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        guard let medium = reach else { throw .noMedium }
        do { return try await medium.status(of: range) } catch { throw explain(error, medium) }
    }

    public func resize(to length: UInt64) async throws(BlockError) {
        guard let medium = reach else { throw .noMedium }
        do { try await medium.resize(to: length) } catch { throw explain(error, medium) }
    }

    /// A disk ends where it ends, also where what it lies on could grow.
    private func checkEnd(_ offset: UInt64, _ count: UInt64, _ medium: BlockRoot) throws(BlockError) {
        if !endsWithin(offset, count, medium) { throw .outOfRange }
    }

    private func endsWithin(_ offset: UInt64, _ count: UInt64, _ medium: BlockRoot) -> Bool {
        let length = medium.length
        return offset <= length && count <= length - offset
    }

    /// Holds a request to the limits. The medium it was meant for may be gone by the time it may go.
    private func admit(_ throttle: ThrottleGroup, _ medium: BlockRoot, _ byteCount: UInt64, isWrite: Bool)
        async throws(BlockError)
    {
        await throttle.admit(self, byteCount: byteCount, isWrite: isWrite)
        if reach !== medium { throw .noMedium }
    }

    private func failed(
        _ operation: DeviceStatistics.Operation, _ error: BlockError, _ medium: BlockRoot?, _ startNs: UInt64
    ) -> BlockError {
        let error = explain(error, medium)
        statistics.fail(operation, error, from: startNs, to: context.nowNs)
        return error
    }

    /// A medium that was taken out refuses what still waited for it.
    private func explain(_ error: BlockError, _ medium: BlockRoot?) -> BlockError {
        error == .closed && reach !== medium ? .noMedium : error
    }
}
