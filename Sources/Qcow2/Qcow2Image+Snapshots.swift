public import Block
public import Bytes
import DirtyMap

// Internal snapshots. Each change of them is one switch (NextImage): before it the image is as it was, after it all is as it
// shall be, with exact refcounts and flags (O9).

/// What a snapshot that is to be made is called, and when of whose clocks it is taken.
public struct NewSnapshot: Equatable, Sendable {
    /// As much of it as QEMU keeps is stored: 255 bytes.
    public var name: String
    public var dateSeconds: UInt32
    public var dateNanoseconds: UInt32
    /// The guest's clock in nanoseconds since its start.
    public var vmClockNs: UInt64
    public var instructionCount: UInt64?

    public init(
        name: String, dateSeconds: UInt32, dateNanoseconds: UInt32, vmClockNs: UInt64 = 0,
        instructionCount: UInt64? = nil
    ) {
        self.name = name
        self.dateSeconds = dateSeconds
        self.dateNanoseconds = dateNanoseconds
        self.vmClockNs = vmClockNs
        self.instructionCount = instructionCount
    }
}

extension Qcow2Image {
    /// Makes an internal snapshot of the disk as it is. No request is under way.
    ///
    /// The snapshot keeps the active tables as they are; the active state gets copies of those that may be written. Throws
    /// `invalid` where a refcount has no room for one more, `system(EFBIG)` where there are too many snapshots.
    @discardableResult
    public func createSnapshot(
        _ new: NewSnapshot, pace: Pace = .none, onFreed: ([ByteRange]) async -> Void = { _ in }
    ) async throws(BlockError) -> Snapshot {
        try checkKeepsSnapshots()
        var made: Snapshot?
        try await switchOver(pace: pace, onFreed: onFreed) { (next: NextImage) async throws(BlockError) in
            guard snapshots.count < Limits.snapshots, inactiveL1Clusters(with: UInt64(l1.count)) != nil else {
                throw .system(27)
            }
            var snapshot = Snapshot(new, id: nextSnapshotID, of: next.header)
            snapshot.stored = snapshot.encoded
            try await next.writeL1(try await next.share(next.l1), entries: next.l1.count)
            try await next.writeSnapshots(next.snapshots + [snapshot])
            made = snapshot
        }
        guard let made else { throw .io }
        return made
    }

    /// Makes the disk what it was when a snapshot was made, its size and the saved state of a machine included. What the
    /// disk was now is lost; the snapshot stays. Throws `busy` where bitmaps record changes of the disk. No request is under way.
    public func applySnapshot(
        id: String, pace: Pace = .none, onFreed: ([ByteRange]) async -> Void = { _ in }
    ) async throws(BlockError) {
        try checkKeepsSnapshots()
        try await switchOver(pace: pace, onFreed: onFreed) { (next: NextImage) async throws(BlockError) in
            if hasBitmaps { throw .busy }
            let snapshot = try next.snapshots.with(id: id)
            let size = snapshot.diskSize ?? next.header.size
            let entries = geometry.l1Entries(for: size)
            guard size <= UInt64(Int64.max), entries * 8 <= Limits.l1Bytes else { throw .system(27) }
            let l1 = try await l1Table(of: snapshot)
            try await next.drop(next.l1, at: next.header.l1TableOffset)
            try await next.writeL1(try await next.share(l1), entries: max(l1.count, Int(entries)))
            next.header.size = size
        }
    }

    /// Whether bitmaps record changes of the disk.
    public var hasBitmaps: Bool { !bitmaps.all.isEmpty }

    /// Removes a snapshot, and gives its space back. No request is under way.
    public func deleteSnapshot(
        id: String, pace: Pace = .none, onFreed: ([ByteRange]) async -> Void = { _ in }
    ) async throws(BlockError) {
        try checkKeepsSnapshots()
        try await switchOver(pace: pace, onFreed: onFreed) { (next: NextImage) async throws(BlockError) in
            let snapshot = try next.snapshots.with(id: id)
            try await next.drop(try await l1Table(of: snapshot), at: snapshot.l1TableOffset)
            var rest = next.snapshots
            // A damaged table may have it twice; one of them has gone.
            if let index = rest.firstIndex(of: snapshot) { rest.remove(at: index) }
            try await next.writeSnapshots(rest)
            let flagged = try await next.flagged(next.l1)
            guard flagged != next.l1 else { return }
            try await next.dropL1()
            try await next.writeL1(flagged, entries: flagged.count)
        }
    }

    /// Where data lies apart nothing counts its clusters, so that none could be shared.
    private func checkKeepsSnapshots() throws(BlockError) {
        if rules.hasDataFile { throw .unsupported }
    }

    func l1Table(of snapshot: Snapshot) async throws(BlockError) -> [UInt64] {
        do throws(OpenError) {
            return try await Self.readTable(
                "snapshot L1 table", file, at: snapshot.l1TableOffset, count: Int(snapshot.l1Size))
        } catch { throw error.cause ?? .corrupt }
    }

    /// One more than the largest number that is an id.
    private var nextSnapshotID: String {
        let largest = snapshots.map { UInt64($0.id.prefix { "0"..."9" ~= $0 }) ?? 0 }.max() ?? 0
        return String(largest &+ 1)
    }
}
