public import Block
public import Bytes

extension Qcow2Image {
    public func unmap(_ guest: ByteRange, to target: UnmapTarget) -> UnmapOutcome {
        if let writeRefusal { return .failed(writeRefusal) }
        guard !guest.isEmpty, guest.end <= length else { return .failed(.outOfRange) }
        let size = geometry.clusterSize
        let within = guest.start & geometry.clusterMask
        // A part of a cluster cannot be unmapped; the disk's last cluster is whole up to the disk's end.
        guard within == 0, guest.count >= size || guest.end == length else {
            return .asData(count: min(guest.count, size - within))
        }
        let toEnd = guest.end == length
        let wanted = clusters(of: guest)
        let whole = toEnd ? UInt64(wanted.count) : guest.count / size
        let index = tableIndex(guest.start)
        guard index < l1.count else { return .failed(.outOfRange) }
        let first = entryIndex(guest.start)
        var most = min(whole, UInt64(geometry.l2Entries - first))
        for ticket in tickets where ticket.overlaps(wanted.lowerBound..<wanted.lowerBound + most) {
            if ticket.first <= wanted.lowerBound { return .busy }
            most = ticket.first - wanted.lowerBound
        }
        let bytes = min(most * size, guest.count)
        if l1[index] == 0 {
            guard let entry = unmapped(0, target) else { return .asData(count: bytes) }
            return entry == 0 ? .done(count: bytes) : .needs(Need.makeTable.at(index))
        }
        guard let table = l2.find(index) else { return tableNeed(guest.start) }
        let (count, isDone, stop) = unmap(first..<first + Int(most), of: table, at: guest.start, to: target)
        guard count > 0 else { return stop ?? .failed(.invalid) }
        let covered = min(UInt64(count) * size, guest.count)
        return isDone ? .done(count: covered) : .asData(count: covered)
    }

    /// What a table that is not in memory needs.
    private func tableNeed(_ guest: UInt64) -> UnmapOutcome {
        switch tableToChange(at: guest) {
        case .needs(let need): .needs(need)
        case .failed(let failure): .failed(failure)
        case .table: .failed(.invalid)
        }
    }

    /// Unmaps entries up to the first that must be done differently. Answers how many, whether they are done or must be
    /// written as data, and where there are none, why.
    private func unmap(_ positions: Range<Int>, of table: L2Table, at guest: UInt64, to target: UnmapTarget)
        -> (count: Int, isDone: Bool, stop: UnmapOutcome?)
    {
        var count = 0
        for position in positions {
            let entry = table.entries[position]
            if rules.read(entry) == .invalid {
                let at = guest + UInt64(count) * geometry.clusterSize
                return (count, true, hasReportedCorruption ? .failed(.corrupt) : .needs(Need.reportEntry.at(at)))
            }
            guard let new = unmapped(entry, target) else {
                if count > 0 { return (count, true, nil) }
                let run = positions.prefix { unmapped(table.entries[$0], target) == nil }
                return (max(run.count, 1), false, nil)
            }
            if new != entry {
                switch tableToChange(at: guest) {
                case .needs(let need): return (count, true, .needs(need))
                case .failed(let failure): return (count, true, .failed(failure))
                case .table: break
                }
                if let cluster = metadataNamed(by: entry) {
                    return (count, true, .needs(Need.reportOverlap.at(cluster)))
                }
                if clustersNamed(by: new).isEmpty { dropReferences(of: entry) }
                change(table, position, to: new)
            }
            count += 1
        }
        return (count, true, nil)
    }

    /// What an entry becomes, or nil where zeros must be written as data (or, for a discard, the entry left alone).
    ///
    /// Version 3 leaves zero clusters, so that no older bytes of the chain come to light; version 2 has none, and may only
    /// let go of a cluster where there is no backing file below it.
    private func unmapped(_ entry: UInt64, _ target: UnmapTarget) -> UInt64? {
        let kind = rules.read(entry)
        let isVersion3 = header.version >= 3
        if kind == .zero(offset: 0) { return entry }
        switch target {
        case .discard:
            if kind == .unallocated && !hasBacking { return entry }
            if isVersion3 { return L2Entry.zeroFlag }
            return hasBacking ? nil : 0
        case .zero(let keepsPlace):
            if !isVersion3 {
                if hasBacking { return nil }
                if kind == .unallocated { return entry }
                return keepsPlace ? nil : 0
            }
            switch kind {
            case .data, .zero: return keepsPlace ? entry | L2Entry.zeroFlag : L2Entry.zeroFlag
            default: return L2Entry.zeroFlag
            }
        }
    }
}
