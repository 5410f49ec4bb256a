import Block
import BlockTestKit
import Bytes
import Qcow2

// Internal snapshots that the image makes, applies and deletes itself. While one of these is under way a crash may leave the
// state before or the state after, all of it, and nothing between (O9).
extension CrashRun {
    func createSnapshot() async throws {
        guard snapshots.count < 4, program.shape.dataFile == .none else { return }
        try await drain()
        let contents: [UInt8]
        do { contents = try await settled() } catch { return try excuse(error, "flush before a snapshot") }
        let id = String((snapshots.compactMap { Int($0.id) }.max() ?? 0) + 1)
        let made = KeptSnapshot(id: id, of: chain.disks[chain.top].contents)
        let isDone = try await change(
            to: CrashPoint.Outcome(oracle: oracle, snapshots: snapshots + [made], vmState: vmState), .snapshotCreate
        ) { (image, punch) throws(BlockError) in
            let new = NewSnapshot(name: "s\(id)", dateSeconds: 1, dateNanoseconds: 2)
            _ = try await image.createSnapshot(new, onFreed: punch)
        }
        if isDone { (snapshotContents[id], snapshotVMStates[id]) = (contents, vmState) }
    }

    func applySnapshot(_ choice: UInt64) async throws {
        learnContents()
        let known = snapshots.filter { snapshotContents[$0.id] != nil }
        // Bitmaps could not tell what applying changes; the image refuses.
        guard !known.isEmpty, !chain.image.hasBitmaps else { return }
        try await drain()
        do { _ = try await settled() } catch { return try excuse(error, "flush before a snapshot is applied") }
        let chosen = known[Int(choice % UInt64(known.count))]
        let oracle = SectorOracle(snapshotContents[chosen.id] ?? [])
        let outcome = CrashPoint.Outcome(
            oracle: oracle, snapshots: snapshots, vmState: snapshotVMStates[chosen.id] ?? VMStateOracle())
        let isDone = try await change(to: outcome, .snapshotApply) {
            (image, punch) throws(BlockError) in try await image.applySnapshot(id: chosen.id, onFreed: punch)
        }
        if isDone { try await compareVMState() }
    }

    func deleteSnapshot(_ choice: UInt64) async throws {
        guard !snapshots.isEmpty else { return }
        try await drain()
        do { _ = try await settled() } catch { return try excuse(error, "flush before a snapshot is deleted") }
        let chosen = snapshots[Int(choice % UInt64(snapshots.count))]
        let isDone = try await change(
            to: CrashPoint.Outcome(
                oracle: oracle, snapshots: snapshots.filter { $0.id != chosen.id }, vmState: vmState), .snapshotDelete
        ) { (image, punch) throws(BlockError) in try await image.deleteSnapshot(id: chosen.id, onFreed: punch) }
        // The next one may have the same id.
        if isDone { (snapshotContents[chosen.id], snapshotVMStates[chosen.id]) = (nil, nil) }
    }

    /// Makes the disk durable as a client's flush does, and answers what it reads as.
    func settled() async throws(BlockError) -> [UInt8] {
        let io = chain.io
        let (point, vmPoint, hadFailed) = (
            oracle.flushPoint, vmState.flushPoint, flushFailed || chain.hasFailedFlush
        )
        do throws(BlockError) { try await io.finish() } catch {
            flushFailed = flushFailed || chain.hasFailedFlush
            throw error
        }
        if hadFailed { fail(Violation("a flush succeeds after one that failed (D7)", .swallowed)) }
        oracle.flushed(point)
        vmState.flushed(vmPoint)
        let contents = try await io.bytes(at: 0, count: Int(io.length))
        if let wrong = oracle.observe(contents, at: 0) { fail(wrong.told { "before a snapshot: \($0)" }) }
        return contents
    }

    /// Runs a step that leads from one outcome to another; answers whether it did. What a failed one has done is known where
    /// the image goes on taking writes: nothing.
    private func change(
        to outcome: CrashPoint.Outcome, _ verb: Verb,
        _ body: (Qcow2Image, ([ByteRange]) async -> Void) async throws(BlockError) -> Void
    ) async throws -> Bool {
        try await drain()
        let (image, io, disk) = (chain.image, chain.io, chain.disks[chain.top])
        let leaks = MiniCheck(disk.contents).leaks
        verbs.begin([verb])
        defer { verbs.end([verb]) }
        other = outcome
        do throws(BlockError) {
            try await body(image) { await io.punch($0) }
        } catch {
            flushFailed = flushFailed || chain.hasFailedFlush
            if !image.isFenced { other = nil }
            // A refcount of one or two bits has no room for many snapshots.
            if error == .invalid, image.header.geometry.refcountBits <= 2 { return false }
            try excuse(error, "a change of internal snapshots")
            return false
        }
        other = nil
        (oracle, snapshots, vmState) = (outcome.oracle, outcome.snapshots, outcome.vmState)
        showPoint()
        let found = SnapshotForge.snapshots(in: disk.contents)
        guard found == snapshots else {
            throw Violation("the snapshots are \(found.map(\.id)), not what was made", .corrupt)
        }
        let check = MiniCheck(disk.contents)
        guard check.errors.isEmpty, check.leaks <= leaks else {
            throw Violation("after a change of snapshots: \(check.errors), leaks \(check.leaks)", .corrupt)
        }
        return true
    }

    /// What the disk was at snapshots that the image came with, as far as an independent reading tells.
    private func learnContents() {
        let image = chain.disks[chain.top].contents
        for (index, snapshot) in snapshots.enumerated() where snapshotContents[snapshot.id] == nil {
            let reverted = MiniCheck(SnapshotForge.reverting(image, to: index))
            guard reverted.compressed.isEmpty, chain.disks.count == 1 else { continue }
            snapshotContents[snapshot.id] = reverted.contents(over: chain.base?.contents).array
        }
    }
}
