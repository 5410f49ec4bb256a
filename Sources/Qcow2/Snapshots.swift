import Block
import Bytes

/// One internal snapshot, as the snapshot table describes it.
public struct Snapshot: Equatable, Sendable {
    public var l1TableOffset: UInt64
    /// Entries of its L1 table.
    public var l1Size: UInt32
    public var id: String
    public var name: String
    /// Seconds and nanoseconds since 1970, UTC.
    public var dateSeconds: UInt32
    public var dateNanoseconds: UInt32
    /// The guest's clock in nanoseconds since its start.
    public var vmClockNs: UInt64
    /// Bytes of saved VM state.
    public var vmStateSize: UInt64
    /// The disk's size at the snapshot, nil where it is not stored (version 2).
    public var diskSize: UInt64?
    /// The guest's instruction count, nil where it is not stored.
    public var instructionCount: UInt64?
    /// Its entry of the snapshot table, byte by byte, so that what is not understood here stays when the table is rewritten.
    var stored: [UInt8] = []
}

/// Reads the snapshot table piece by piece, so that memory follows what is kept and not what the header claims.
struct SnapshotTableReader {
    let file: any Storage
    let header: Header
    private var offset: UInt64
    private var buffer: [UInt8] = []
    /// Where in `buffer` the unread bytes begin.
    private var position = 0
    private var consumed: UInt64 = 0
    private var kept = 0
    /// Whether entries are kept byte by byte: who never writes the table needs them not.
    var keepsEntries = true

    private static let piece: UInt64 = 64 << 10

    init(file: any Storage, header: Header) {
        self.file = file
        self.header = header
        offset = header.snapshotsOffset
    }

    /// The table's snapshots and its length in bytes.
    mutating func read() async throws(OpenError) -> (snapshots: [Snapshot], bytes: UInt64) {
        var snapshots: [Snapshot] = []
        // Of a valid header 65,536 at most; pages of it that stay unused cost nothing, and growing would cost it twice.
        snapshots.reserveCapacity(Int(min(header.snapshotCount, Limits.snapshots)))
        for index in 0..<header.snapshotCount { snapshots.append(try await readEntry(index)) }
        return (snapshots, consumed)
    }

    private mutating func readEntry(_ index: UInt32) async throws(OpenError) -> Snapshot {
        // Entries begin at multiples of 8; behind the last one the file may end.
        _ = try await take(Int((8 - consumed % 8) % 8), index)
        let head = try await take(40, index)
        let extraSize = head.integer(36, 4)
        guard extraSize <= UInt64(Limits.snapshotExtraBytes) else {
            throw OpenError("Too much extra metadata in snapshot table entry \(index)")
        }
        let extra = try await take(Int(extraSize), index)
        let id = try await take(Int(head.integer(12, 2)), index)
        let name = try await take(Int(head.integer(14, 2)), index)
        let stored = keepsEntries ? head + extra + id + name : []
        kept += MemoryLayout<Snapshot>.stride + id.count + name.count + stored.count
        guard kept <= Limits.snapshotListBytes else { throw OpenError("Snapshot table too large") }

        let snapshot = Snapshot(
            l1TableOffset: head.integer(0, 8), l1Size: UInt32(head.integer(8, 4)),
            id: String(decoding: id, as: UTF8.self), name: String(decoding: name, as: UTF8.self),
            dateSeconds: UInt32(head.integer(16, 4)), dateNanoseconds: UInt32(head.integer(20, 4)),
            vmClockNs: head.integer(24, 8),
            vmStateSize: extra.count >= 8 ? extra.integer(0, 8) : head.integer(32, 4),
            diskSize: extra.count >= 16 ? extra.integer(8, 8) : nil,
            instructionCount: extra.count >= 24 && extra.integer(16, 8) != .max ? extra.integer(16, 8) : nil,
            stored: stored)
        try check(snapshot, index)
        return snapshot
    }

    private func check(_ snapshot: Snapshot, _ index: UInt32) throws(OpenError) {
        let bytes = UInt64(snapshot.l1Size) * 8
        guard bytes <= Limits.l1Bytes else { throw OpenError("Snapshot L1 table too large") }
        guard snapshot.l1Size == 0 || snapshot.l1TableOffset & header.geometry.clusterMask == 0,
            snapshot.l1TableOffset <= Limits.hostOffset - bytes
        else { throw OpenError("Snapshot L1 table offset invalid") }
    }

    /// The next `count` bytes of the table.
    private mutating func take(_ count: Int, _ index: UInt32) async throws(OpenError) -> [UInt8] {
        guard UInt64(count) <= Limits.snapshotTableBytes - consumed else { throw OpenError("Snapshot table too large") }
        while buffer.count - position < count {
            buffer.removeFirst(position)
            position = 0
            let left = file.length > offset ? file.length - offset : 0
            let length = Int(min(Self.piece, left))
            guard length > 0 else {
                throw OpenError("Could not read snapshots: entry \(index) ends past the end of the file")
            }
            var piece = AlignedBuffer(byteCount: length)
            do {
                var span = piece.mutableBytes
                try await file.read(at: offset, into: &span)
            } catch { throw OpenError("Could not read snapshots", cause: error) }
            buffer.append(contentsOf: piece.bytes.array)
            offset += UInt64(length)
        }
        defer {
            position += count
            consumed += UInt64(count)
        }
        return Array(buffer[position..<position + count])
    }
}

extension [UInt8] {
    /// The big-endian number of `width` bytes at `offset`.
    fileprivate func integer(_ offset: Int, _ width: Int) -> UInt64 {
        self[offset..<offset + width].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
