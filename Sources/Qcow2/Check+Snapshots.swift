import Block
import Bytes

/// An internal snapshot as a check sees it: where its entry and its L1 table are, and what makes it no snapshot.
struct CheckedSnapshot {
    /// In the snapshot table, in bytes.
    let offset: UInt64
    let length: UInt64
    let extraSize: UInt32
    var l1Offset: UInt64
    let l1Size: UInt64
    /// Cut where they are very long.
    let id: String
    let name: String
    /// Nil where the table does not keep it.
    let diskSize: UInt64?
    /// What a repair makes of it: where it must be there and is not, or the L1 table does not reach as far.
    var mendedDiskSize: UInt64?
    var mendedL1Size: UInt64?
    var fault: Fault?

    enum Fault {
        case misaligned
        case tooLarge
        /// In the header, or behind the file's end.
        case nowhere
    }
}

extension Qcow2Check {
    /// Bytes of the snapshot table, as far as its entries could be told apart.
    var snapshotTableBytes: UInt64 {
        guard let last = snapshots.last else { return 0 }
        return (last.offset + last.length + 7) & ~7
    }

    private static var shownNameBytes: UInt64 { 255 }

    /// Reads the snapshot table, once for a round. Reports what is wrong with it.
    func readSnapshots() async throws(BlockError) {
        guard isFirstWindow else { return }
        snapshots = []
        var offset: UInt64 = 0
        var seen: Set<UInt64> = []
        var bytes: UInt64 = 0
        for _ in 0..<header.snapshotCount {
            guard offset <= Limits.snapshotTableBytes,
                let place = ByteRange(checked: header.snapshotsOffset, count: offset)
            else { return tableDamage("ERROR snapshot table is too large") }
            var snapshot: CheckedSnapshot?
            do throws(BlockError) { snapshot = try await readSnapshot(at: place.end, offset) } catch {
                return try unreadable("ERROR: I/O error in the snapshot table")
            }
            guard var snapshot else { return tableDamage("ERROR snapshot table is truncated") }
            judge(&snapshot)
            judgeSize(&snapshot, UInt32(clamping: snapshots.count))
            if snapshot.fault == nil, seen.insert(snapshot.l1Offset).inserted { bytes += snapshot.l1Size * 8 }
            guard bytes <= Limits.checkedL1Bytes else {
                return try unreadable("ERROR snapshots' L1 tables are too large to be checked")
            }
            snapshots.append(snapshot)
            offset = (offset + snapshot.length + 7) & ~7
            try await step(Self.stepsPerRead)
        }
    }

    private func tableDamage(_ message: @autoclosure () -> String) {
        damage.snapshotTable = true
        corruption(message())
    }

    /// Nil where there is nothing.
    private func readSnapshot(at place: UInt64, _ offset: UInt64) async throws(BlockError) -> CheckedSnapshot? {
        // An entry's fixed part, its known extra data, and the names where these follow.
        let length = 40 + UInt64(Limits.snapshotExtraBytes) + 2 * Self.shownNameBytes
        guard let range = ByteRange(checked: place, count: length), range.start + 40 <= file.length,
            let buffer = try await read(range)
        else { return nil }
        let entry = buffer.bytes
        let (idSize, nameSize) = (entry.bigEndian(UInt16.self, at: 12), entry.bigEndian(UInt16.self, at: 14))
        let extraSize = entry.bigEndian(UInt32.self, at: 36)
        let names = 40 + UInt64(extraSize)
        func text(_ start: UInt64, _ size: UInt16) -> String {
            let end = min(start + min(UInt64(size), Self.shownNameBytes), length)
            return start < end ? String(decoding: entry.extracting(Int(start)..<Int(end)).array, as: UTF8.self) : ""
        }
        return CheckedSnapshot(
            offset: offset, length: names + UInt64(idSize) + UInt64(nameSize), extraSize: extraSize,
            l1Offset: entry.bigEndian(at: 0), l1Size: UInt64(entry.bigEndian(UInt32.self, at: 8)),
            id: text(names, idSize), name: text(names + UInt64(idSize), nameSize),
            diskSize: extraSize >= 16 ? entry.bigEndian(UInt64.self, at: 48) : nil)
    }

    /// A snapshot says how large its disk is (version 3), and its L1 table maps all of that.
    private func judgeSize(_ snapshot: inout CheckedSnapshot, _ index: UInt32) {
        guard snapshot.fault == nil else { return }
        let mapped = snapshot.l1Size.multipliedReportingOverflow(by: geometry.l2Coverage)
        let most = mapped.overflow ? .max : mapped.partialValue
        guard let size = snapshot.diskSize else {
            guard header.version >= 3 else { return }
            snapshot.mendedDiskSize = min(header.size, most)
            return tableDamage(
                "\(repair == .all ? "Repairing" : "ERROR") snapshot table entry \(index) is incomplete")
        }
        let needed = geometry.l1Entries(for: size)
        guard needed > snapshot.l1Size else { return }
        if needed * 8 <= Limits.l1Bytes { snapshot.mendedL1Size = needed } else { snapshot.mendedDiskSize = most }
        tableDamage(
            "ERROR snapshot \(snapshot.id) (\(snapshot.name)) l1_size=0x\(hex(snapshot.l1Size)): "
                + "L1 table is too short for its disk")
    }

    private func judge(_ snapshot: inout CheckedSnapshot) {
        let what = "snapshot \(snapshot.id) (\(snapshot.name))"
        if snapshot.extraSize > Limits.snapshotExtraBytes {
            tableDamage(
                "\(repair == .all ? "Discarding" : "ERROR") too much extra metadata in \(what) "
                    + "(\(snapshot.extraSize) > \(Limits.snapshotExtraBytes))")
        }
        if snapshot.l1Offset & geometry.clusterMask != 0 {
            snapshot.fault = .misaligned
            tableDamage(
                "ERROR \(what) l1_offset=0x\(hex(snapshot.l1Offset)): L1 table is not cluster aligned; "
                    + "snapshot table entry corrupted")
        } else if snapshot.l1Size * 8 > Limits.l1Bytes {
            snapshot.fault = .tooLarge
            tableDamage(
                "ERROR \(what) l1_size=0x\(hex(snapshot.l1Size)): L1 table is too large; snapshot table entry corrupted"
            )
        } else if snapshot.l1Size > 0, snapshot.l1Offset == 0 || snapshot.l1Offset >= file.length {
            snapshot.fault = .nowhere
            tableDamage(
                "ERROR \(what) l1_offset=0x\(hex(snapshot.l1Offset)): there is no L1 table; "
                    + "snapshot table entry corrupted")
        }
    }
}
