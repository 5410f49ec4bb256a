import Block
import BlockTestKit
import Bytes

/// Passes requests to another storage, but holds those of the given kinds back until the test lets them go.
final class GateStorage: Storage {
    let below: any Storage
    /// What is held back.
    var held: Set<RequestKind>
    /// Requests that wait, by kind, in order of arrival.
    private(set) var waiting: [(kind: RequestKind, offset: UInt64)] = []
    /// Requests that were let through to their end.
    private(set) var ended = 0
    private var suspended: [Suspension<Void>] = []

    init(_ below: any Storage, holding held: Set<RequestKind> = []) {
        self.below = below
        self.held = held
    }

    var length: UInt64 { below.length }
    var limits: StorageLimits { below.limits }

    private func pass(_ kind: RequestKind, _ offset: UInt64 = 0) async {
        guard held.contains(kind) else { return }
        await suspend {
            waiting.append((kind, offset))
            suspended.append($0)
        }
    }

    /// Lets one of those that wait go on.
    func release(at index: Int) {
        waiting.remove(at: index)
        suspended.remove(at: index).resume()
    }

    /// Lets all go on, and holds nothing back any more.
    func open() {
        held = []
        while !suspended.isEmpty { release(at: 0) }
    }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        await pass(.read, offset)
        defer { ended += 1 }
        try await below.read(at: offset, into: &buffer)
    }

    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        await pass(.write, offset)
        defer { ended += 1 }
        try await below.write(at: offset, from: bytes, flags: flags)
    }

    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        await pass(.zero, range.start)
        defer { ended += 1 }
        try await below.zero(range, flags: flags)
    }

    func discard(_ range: ByteRange) async throws(BlockError) {
        await pass(.discard, range.start)
        defer { ended += 1 }
        try await below.discard(range)
    }

    func flush() async throws(BlockError) {
        await pass(.flush)
        defer { ended += 1 }
        try await below.flush()
    }

    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        await pass(.status, range.start)
        return try await below.status(of: range)
    }

    func resize(to length: UInt64) async throws(BlockError) { try await below.resize(to: length) }
}

/// A read-only disk whose extents are a list, however large: data reads as a pattern of its offset, the rest as zeros.
final class ExtentStorage: Storage {
    struct Extent {
        var count: UInt64
        var flags: BlockStatus.Flags
        var depth = 0
    }

    let extents: [Extent]
    let starts: [UInt64]
    let length: UInt64
    let limits = StorageLimits()
    private(set) var changes: [String] = []

    init(_ extents: [Extent]) {
        self.extents = extents
        var end: UInt64 = 0
        starts = extents.map { extent in
            defer { end += extent.count }
            return end
        }
        length = end
    }

    /// The byte that data has at an offset; never zero.
    static func byte(at offset: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: offset &* 31 &+ offset >> 12) | 1 }

    private func index(at offset: UInt64) -> Int {
        var (low, high) = (0, starts.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= offset { low = middle } else { high = middle }
        }
        return low
    }

    /// What a range reads as.
    func pattern(_ range: ByteRange) -> [UInt8] {
        (range.start..<range.end).map { offset in
            extents[index(at: offset)].flags.contains(.zero) ? 0 : Self.byte(at: offset)
        }
    }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        guard let range = ByteRange(checked: offset, count: UInt64(buffer.byteCount)), range.end <= length else {
            throw .outOfRange
        }
        let bytes = pattern(range)
        buffer.copy(bytes.byteSpan)
    }

    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        guard range.end <= length, !range.isEmpty else { throw .outOfRange }
        let index = index(at: range.start)
        let end = starts[index] + extents[index].count
        return BlockStatus(
            count: min(range.count, end - range.start), flags: extents[index].flags, depth: extents[index].depth)
    }

    /// Changes are only noted, with their flags.
    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        changes.append("write \(offset)+\(bytes.byteCount) \(flags.rawValue)")
    }

    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        let names = [(ZeroFlags.fua, "fua"), (.mayUnmap, "unmap"), (.fastOnly, "fast")]
        let told = names.filter { flags.contains($0.0) }.map(\.1).joined(separator: "+")
        changes.append("zero \(range.start)+\(range.count) \(told)")
    }

    func discard(_ range: ByteRange) async throws(BlockError) {
        changes.append("discard \(range.start)+\(range.count)")
    }

    func flush() async throws(BlockError) { changes.append("flush") }

    func resize(to length: UInt64) async throws(BlockError) { throw .unsupported }
}

/// A connection whose client said all it had to say, ended its sending side, and takes so many bytes of replies.
final class RecordedStream: ByteStream {
    private let bytes: [UInt8]
    private let taking: Int
    private var start = 0
    private(set) var sent: [UInt8] = []
    private(set) var isClosed = false

    init(_ bytes: [UInt8], taking: Int = .max) {
        self.bytes = bytes
        self.taking = taking
    }

    func receive(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int {
        if isClosed { throw .closed }
        let all = bytes
        let count = min(buffer.byteCount, all.count - start)
        buffer.copy(all.rawBytes.extracting(start..<start + count))
        start += count
        return count
    }

    func send(_ bytes: RawSpan) async throws(BlockError) {
        if isClosed || sent.count + bytes.byteCount > taking { throw .closed }
        sent += bytes.copied
    }

    func close() { isClosed = true }
}

/// A stream that notes that it was to be made private, and stays what it is.
final class MarkedStream: SecurableStream {
    private let below: any ByteStream
    private(set) var isSecured = false
    init(_ below: any ByteStream) { self.below = below }
    var memory: Int { 0 }
    func secure() async throws(OpenError) { isSecured = true }
    func receive(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int {
        try await below.receive(into: &buffer)
    }
    func send(_ bytes: RawSpan) async throws(BlockError) { try await below.send(bytes) }
    func close() { below.close() }
}
