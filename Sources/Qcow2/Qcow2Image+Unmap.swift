public import Block
public import Bytes

extension Qcow2Image {
    public func unmap(_ guest: ByteRange, to target: UnmapTarget) -> UnmapOutcome {
        if let writeRefusal { return .failed(writeRefusal) }
        guard !guest.isEmpty, guest.end <= length else { return .failed(.outOfRange) }
        if isDataRaw { return unmapRaw(guest, to: target) }
        let size = geometry.subclusterSize
        let within = guest.start & (size - 1)
        // A part of a subcluster cannot be unmapped; the disk's last one is whole up to the disk's end.
        guard within == 0, guest.count >= size || guest.end == length else {
            return .asData(count: min(guest.count, size - within))
        }
        let index = tableIndex(guest.start)
        guard index < l1.count else { return .failed(.outOfRange) }
        let first = guest.start >> UInt64(geometry.subclusterBits)
        let whole =
            guest.end == length ? subclusters(of: guest).upperBound : guest.end >> UInt64(geometry.subclusterBits)
        var end = min(whole, tableEnd(guest.start))
        for ticket in tickets where ticket.overlaps(first..<end) {
            if ticket.held.lowerBound <= first { return .busy }
            end = ticket.held.lowerBound
        }
        let wanted = first..<end
        if l1[index] == 0 {
            let count = min(UInt64(wanted.count) * size, guest.count)
            guard let entry = unmapped(.none, 0..<geometry.subclusters, target) else { return .asData(count: count) }
            return entry == .none ? .done(count: count) : .needs(Need.makeTable.at(index))
        }
        guard let table = l2.find(index) else { return tableNeed(guest.start) }
        let (done, isDone, stop) = unmap(wanted, of: table, to: target)
        guard done > 0 else { return stop ?? .failed(.invalid) }
        let covered = min(UInt64(done) * size, guest.count)
        guard isDone else { return .asData(count: covered) }
        // Nobody sees the data any more: its file may have the space back.
        guard rules.hasDataFile, target != .zero(keepPlace: true) else { return .done(count: covered) }
        return .passDown(offset: guest.start, count: covered, .discard)
    }

    /// The answer where the data's file must read as the disk by itself: data becomes zeros there, and stays data here.
    private func unmapRaw(_ guest: ByteRange, to target: UnmapTarget) -> UnmapOutcome {
        let extent = lookup(guest)
        let count = min(extent.count, guest.count)
        switch extent.mapping {
        case .data(let offset): return .passDown(offset: offset, count: count, target)
        case .zero: return .done(count: count)
        case .unallocated: return hasBacking ? .asData(count: count) : .done(count: count)
        case .unresolved(let need): return .needs(need)
        case .encoded, .corrupt: return .failed(.corrupt)
        }
    }

    /// What a table that is not in memory needs.
    private func tableNeed(_ guest: UInt64) -> UnmapOutcome {
        switch tableToChange(at: guest) {
        case .needs(let need): .needs(need)
        case .failed(let failure): .failed(failure)
        case .table: .failed(.invalid)
        }
    }

    /// Unmaps subclusters up to the first that must be done differently. Answers how many, whether they are done or must
    /// be written as data, and where there are none, why.
    private func unmap(_ wanted: Range<UInt64>, of table: L2Table, to target: UnmapTarget)
        -> (count: Int, isDone: Bool, stop: UnmapOutcome?)
    {
        var count = 0
        for (position, subclusters) in parts(of: wanted) {
            let entry = table[position]
            let guest = (wanted.lowerBound + UInt64(count)) << UInt64(geometry.subclusterBits)
            if rules.read(entry) == .invalid {
                return (count, true, hasReportedCorruption ? .failed(.corrupt) : .needs(Need.reportEntry.at(guest)))
            }
            let keepsPlace = isBeingFilled(cluster(of: guest))
            guard let new = unmapped(entry, subclusters, target, keepsPlace: keepsPlace) else {
                if count > 0 { return (count, true, nil) }
                let run = parts(of: wanted).prefix { unmapped(table[$0.position], $0.subclusters, target) == nil }
                return (run.reduce(0) { $0 + $1.subclusters.count }, false, nil)
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
                replace(table, position, with: new)
            }
            count += subclusters.count
        }
        return (count, true, nil)
    }

    /// What an entry becomes where some of its subclusters are unmapped, or nil where zeros must be written as data (or,
    /// for a discard, the entry left alone).
    ///
    /// Version 3 leaves zeros, so that no older bytes of the chain come to light; version 2 has none, and may only let go
    /// of a cluster where there is no backing file below it.
    private func unmapped(
        _ entry: L2Entry, _ subclusters: Range<Int>, _ target: UnmapTarget, keepsPlace: Bool = false
    ) -> L2Entry? {
        let keepsPlace = keepsPlace || target == .zero(keepPlace: true)
        if !hasBacking, target == .discard || header.version < 3, rules.saysNothing(entry, of: subclusters) {
            return entry
        }
        if header.version < 3 { return hasBacking || keepsPlace ? nil : L2Entry.none }
        return rules.zeroed(entry, subclusters, keepsPlace: keepsPlace)
    }
}
