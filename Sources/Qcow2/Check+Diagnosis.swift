import Block
import Bytes

extension Qcow2Check {
    /// Says what the damage just found means to the guest.
    func diagnose() async throws(BlockError) -> Diagnosis {
        var diagnosis = Diagnosis()
        diagnosis.hasBacking = header.backingFileName != nil
        diagnosis.isHopeless = damage.isHopeless || result.checkErrors > 0
        if damage.refcounts || damage.width != nil {
            diagnosis.refcounts = .rebuilt(bits: 1 << (damage.width ?? geometry.refcountOrder))
        } else if result.corruptions > 0 || result.leaks > 0 || damage.flags {
            diagnosis.refcounts = .wrong
        }
        guard !diagnosis.isHopeless else { return diagnosis }
        diagnosis.losesBitmaps = damage.bitmaps && header.autoclear.contains(.bitmaps)
        for snapshot in snapshots where snapshot.fault != nil { diagnosis.removedSnapshots.append(disk(of: snapshot)) }
        diagnosis.missingSnapshots = header.snapshotCount - UInt32(clamping: snapshots.count)
        var patient = Patient(
            mender: mender(movesTables: true), doubtful: damage.doubtful,
            rules: entryRules)
        guard patient.mayHaveFindings(damage) else { return diagnosis }
        try await findDamagedTables(&patient)
        try await examine(
            .active, header.l1TableOffset, UInt64(header.l1Size), size: header.size, &patient, &diagnosis)
        for snapshot in snapshots where snapshot.fault == nil {
            try await examine(
                disk(of: snapshot), snapshot.l1Offset, snapshot.l1Size, size: snapshot.diskSize ?? header.size,
                &patient, &diagnosis)
            // A snapshot whose table is too short for its disk does not open.
            if let size = snapshot.mendedDiskSize {
                diagnosis.add(disk(of: snapshot), ByteRange(at: 0, count: size), .regained)
            }
            if let size = snapshot.diskSize, snapshot.mendedL1Size != nil {
                let mapped = snapshot.l1Size * geometry.l2Coverage
                diagnosis.add(disk(of: snapshot), ByteRange(at: 0, count: mapped), .regained)
                diagnosis.add(disk(of: snapshot), ByteRange(from: mapped, to: size), .unmapped)
            }
        }
        findHolders(&diagnosis)
        return diagnosis
    }

    private func disk(of snapshot: CheckedSnapshot) -> Diagnosis.Disk {
        .snapshot(id: snapshot.id, name: snapshot.name)
    }

    /// What a diagnosis knows while it looks.
    private struct Patient {
        var mender: EntryMender
        let doubtful: Set<UInt64>
        let rules: EntryRules
        /// The L2 tables, by cluster, of which an entry is damaged; nil where these are too many to be told apart.
        var damagedTables: Set<UInt64>? = []

        static let tableLimit = 1 << 18

        func mayHaveFindings(_ damage: Damage) -> Bool {
            damage.l1Entries || damage.l2Entries || damage.length > 0 || damage.snapshotTable || !doubtful.isEmpty
        }

        /// Whether there is something to say of an entry.
        mutating func isDamaged(_ entry: L2Entry) -> Bool {
            entry != .none && (mender.l2(entry) != entry || isDoubtful(entry))
        }

        /// Whether data lies in the place of metadata.
        private func isDoubtful(_ entry: L2Entry) -> Bool {
            let size = rules.geometry.clusterSize
            guard !doubtful.isEmpty, !mender.header.hasDataFile else { return false }
            guard case .compressed(let offset, let count) = rules.read(entry) else {
                return !entry.isCompressed && doubtful.contains((entry.descriptor & L2Entry.offsetMask) / size)
            }
            return (offset / size...(offset + count - 1) / size).contains { doubtful.contains($0) }
        }

        /// What becomes of a subcluster; nil where it reads as before.
        func fate(of entry: L2Entry, _ mended: L2Entry, _ subcluster: Int) -> Diagnosis.Fate? {
            let (old, new) = (rules.read(entry, subcluster), rules.read(mended, subcluster))
            switch new {
            case .data(let place) where place == mender.copies.zeros: return .lost
            case .data, .compressed: return isDoubtful(entry) ? .doubtful : old == .invalid ? .regained : nil
            case .unallocated, .zero, .invalid: break
            }
            switch old {
            case .data, .compressed: return .lost
            case .zero, .unallocated: return nil
            case .invalid: return hadData(entry, subcluster) ? .lost : .regained
            }
        }

        /// Whether an entry that names no place any more had data.
        private func hadData(_ entry: L2Entry, _ subcluster: Int) -> Bool {
            if entry.isCompressed { return true }
            if rules.geometry.hasExtendedL2 { return entry.allocated >> UInt32(subcluster) & 1 != 0 }
            let isZero = mender.header.version >= 3 && entry.descriptor & L2Entry.zeroFlag != 0
            return !isZero && entry.descriptor & L2Entry.offsetMask != 0
        }
    }

    private func findDamagedTables(_ patient: inout Patient) async throws(BlockError) {
        let entries = geometry.l2Entries
        try await forEachTable { (tables) async throws(BlockError) in
            try await self.readTables(tables, failed: { (error) throws(BlockError) in throw error }) { (table, bytes) in
                for index in 0..<entries {
                    let entry = L2Entry(bytes, at: index, self.geometry)
                    guard patient.isDamaged(entry) else { continue }
                    if patient.damagedTables?.count == Patient.tableLimit { patient.damagedTables = nil }
                    patient.damagedTables?.insert(table.cluster)
                    break
                }
            }
        }
    }

    /// What becomes of one disk.
    private func examine(
        _ disk: Diagnosis.Disk, _ l1: UInt64, _ l1Size: UInt64, size: UInt64, _ patient: inout Patient,
        _ diagnosis: inout Diagnosis
    ) async throws(BlockError) {
        let whole = ByteRange(at: 0, count: size)
        if l1 + l1Size * 8 > file.length { diagnosis.add(disk, whole, .regained) }
        let coverage = geometry.l2Coverage
        try await forEachEntry(at: l1, count: l1Size) { (index, entry) async throws(BlockError) in
            guard index < self.geometry.l1Entries(for: size), entry != L2Entry.copied else { return }
            let part = ByteRange(at: index * coverage, count: min(coverage, size - index * coverage))
            let mended = patient.mender.l1(entry)
            guard mended != 0 else { return diagnosis.add(disk, part, .unmapped) }
            let table = entry & L2Entry.offsetMask
            let isRegained = entry & ~(L2Entry.offsetMask | L2Entry.copied) != 0
            if isRegained || table + self.geometry.clusterSize > self.file.length {
                diagnosis.add(disk, part, .regained)
            }
            let cluster = table / self.geometry.clusterSize
            if patient.doubtful.contains(cluster) { diagnosis.add(disk, part, .doubtful) }
            guard patient.damagedTables?.contains(cluster) ?? true else { return }
            try await self.examineTable(cluster, disk, part, &patient, &diagnosis)
        }
    }

    private func examineTable(
        _ cluster: UInt64, _ disk: Diagnosis.Disk, _ part: ByteRange, _ patient: inout Patient,
        _ diagnosis: inout Diagnosis
    ) async throws(BlockError) {
        let size = geometry.clusterSize
        guard let table = try await read(ByteRange(at: cluster * size, count: size)) else { return }
        for index in 0..<geometry.l2Entries {
            let entry = L2Entry(table.bytes, at: index, geometry)
            guard patient.isDamaged(entry) else { continue }
            let mended = patient.mender.l2(entry)
            for subcluster in 0..<geometry.subclusters {
                guard let fate = patient.fate(of: entry, mended, subcluster) else { continue }
                let within = UInt64(subcluster) * geometry.subclusterSize
                let range = ByteRange(at: part.start + UInt64(index) * size + within, count: geometry.subclusterSize)
                diagnosis.add(disk, range.intersection(part), fate)
            }
        }
        try await step(geometry.l2Entries)
    }

    /// Finds the snapshots that still have their own state of what the active disk loses.
    private func findHolders(_ diagnosis: inout Diagnosis) {
        // Where not all is known, nothing is promised.
        guard diagnosis.omitted == 0 else { return }
        let gone = diagnosis.findings.indices.filter {
            diagnosis.findings[$0].fate == .lost || diagnosis.findings[$0].fate == .unmapped
        }
        let active = gone.filter { diagnosis.findings[$0].disk == .active }
        guard !active.isEmpty else { return }
        for snapshot in snapshots.prefix(Self.holderLimit) where snapshot.fault == nil {
            let disk = disk(of: snapshot)
            let lost = gone.filter { diagnosis.findings[$0].disk == disk }.map { diagnosis.findings[$0].range }
            // Both are in the order of the disk.
            var next = 0
            for index in active {
                let range = diagnosis.findings[index].range
                while next < lost.count, lost[next].end <= range.start { next += 1 }
                if next < lost.count, lost[next].overlaps(range) { continue }
                if range.end <= snapshot.diskSize ?? header.size { diagnosis.findings[index].heldBy.append(disk) }
            }
        }
    }

    /// So many snapshots are looked at for what the active disk loses.
    private static var holderLimit: Int { 256 }
}
