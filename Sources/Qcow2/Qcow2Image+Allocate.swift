public import Block
public import Bytes

/// A place that somebody fills: guest clusters of one table that nobody else may touch meanwhile.
struct Ticket {
    let id: UInt64
    /// Number of the first guest cluster.
    let first: UInt64
    let count: UInt64
    /// Offset in the file of the first cluster.
    let place: UInt64
    let table: L2Table
    /// Whether the place was a preallocated zero cluster's, which keeps it if the ticket is abandoned.
    let isReuse: Bool

    func overlaps(_ other: Range<UInt64>) -> Bool { first < other.upperBound && other.lowerBound < first + count }
}

extension Qcow2Image {
    /// Numbers of the guest clusters that a range touches.
    func clusters(of guest: ByteRange) -> Range<UInt64> {
        let bits = UInt64(geometry.clusterBits)
        let first = guest.start >> bits
        return first..<(guest.isEmpty ? first : ((guest.end - 1) >> bits) + 1)
    }

    /// The table for a change at `guest`: in memory, the active state's own, no other structure's place.
    enum TableAnswer {
        case table(L2Table)
        case needs(TableNeed)
        case failed(BlockError)
    }

    func tableToChange(at guest: UInt64) -> TableAnswer {
        let index = tableIndex(guest)
        guard index < l1.count else { return .failed(.outOfRange) }
        let entry = l1[index]
        guard entry != 0 else { return .needs(Need.makeTable.at(index)) }
        guard entry & rules.l1MustBeZero == 0, entry & L2Entry.offsetMask < rules.hostEnd,
            entry & L2Entry.offsetMask != 0
        else { return hasReportedCorruption ? .failed(.corrupt) : .needs(Need.reportEntry.at(guest)) }
        guard entry & L2Entry.copied != 0 else { return .needs(Need.copyTable.at(index)) }
        guard let table = l2.find(index) else { return .needs(Need.loadTable.at(index)) }
        let cluster = table.offset >> UInt64(geometry.clusterBits)
        if contested.contains(cluster) { return .needs(Need.reportOverlap.at(cluster)) }
        table.wasUsed = true
        return .table(table)
    }

    public func allocate(_ guest: ByteRange) -> Allocation {
        if let writeRefusal { return .failed(writeRefusal) }
        guard !guest.isEmpty, guest.end <= length else { return .failed(.outOfRange) }
        switch tableToChange(at: guest.start) {
        case .needs(let need): return .needs(need)
        case .failed(let failure): return .failed(failure)
        case .table(let table): return allocate(guest, in: table)
        }
    }

    private func allocate(_ guest: ByteRange, in table: L2Table) -> Allocation {
        let wanted = clusters(of: guest)
        let first = entryIndex(guest.start)
        var most = min(UInt64(wanted.count), UInt64(table.entries.count - first))
        for ticket in tickets where ticket.overlaps(wanted.lowerBound..<wanted.lowerBound + most) {
            if ticket.first <= wanted.lowerBound { return .busy }
            most = ticket.first - wanted.lowerBound
        }
        let entry = table.entries[first]
        switch rules.read(entry) {
        case .invalid:
            return hasReportedCorruption ? .failed(.corrupt) : .needs(Need.reportEntry.at(guest.start))
        case .data(let offset) where entry & L2Entry.copied != 0:
            let cluster = offset >> UInt64(geometry.clusterBits)
            // Somebody placed it since the caller looked: now it is written in place.
            return metadata.contains(cluster) ? .needs(Need.reportOverlap.at(cluster)) : .busy
        case .zero(let offset) where offset != 0 && entry & L2Entry.copied != 0:
            if let cluster = metadataNamed(by: entry) { return .needs(Need.reportOverlap.at(cluster)) }
            let count = reusableRun(at: first, atMost: most, in: table, from: offset)
            return .ticket(issue(guest, count: count, place: offset, table, isReuse: true, readsZero: false))
        default:
            if let cluster = metadataNamed(by: entry) { return .needs(Need.reportOverlap.at(cluster)) }
            let count = placelessRun(at: first, atMost: most, in: table)
            switch takeRun(atMost: count) {
            case .needs(let need): return .needs(need)
            case .noSpace: return .failed(.noSpace)
            case .run(let run, let readsZero):
                let place = run.start << UInt64(geometry.clusterBits)
                return .ticket(
                    issue(guest, count: run.count, place: place, table, isReuse: false, readsZero: readsZero))
            }
        }
    }

    /// How many preallocated zero clusters follow one another in the table and in the file.
    private func reusableRun(at first: Int, atMost most: UInt64, in table: L2Table, from offset: UInt64) -> UInt64 {
        var count: UInt64 = 1
        while count < most {
            let entry = table.entries[first + Int(count)]
            guard entry & L2Entry.copied != 0,
                rules.read(entry) == .zero(offset: offset + count * geometry.clusterSize),
                metadataNamed(by: entry) == nil
            else { break }
            count += 1
        }
        return count
    }

    /// How many clusters in a row need a new place.
    private func placelessRun(at first: Int, atMost most: UInt64, in table: L2Table) -> UInt64 {
        var count: UInt64 = 1
        while count < most {
            let entry = table.entries[first + Int(count)]
            switch rules.read(entry) {
            case .unallocated, .compressed: break
            case .data where entry & L2Entry.copied == 0: break
            case .zero(let offset) where offset == 0 || entry & L2Entry.copied == 0: break
            default: return count
            }
            if metadataNamed(by: entry) != nil { return count }
            count += 1
        }
        return count
    }

    private func issue(
        _ guest: ByteRange, count: UInt64, place: UInt64, _ table: L2Table, isReuse: Bool, readsZero: Bool
    ) -> AllocationTicket {
        let bits = UInt64(geometry.clusterBits)
        let ticket = Ticket(
            id: nextTicket, first: guest.start >> bits, count: count, place: place, table: table, isReuse: isReuse)
        nextTicket += 1
        tickets.append(ticket)
        table.pins += 1
        let whole = ByteRange(at: ticket.first << bits, count: count << bits)
        let part = whole.intersection(guest)
        return AllocationTicket(
            id: ticket.id, guest: part, head: ByteRange(from: whole.start, to: part.start),
            tail: ByteRange(from: part.end, to: whole.end), offset: place + (part.start - whole.start),
            readsZero: readsZero)
    }

    public func publish(_ ticket: consuming AllocationTicket) {
        let ticket = end(ticket.resolved())
        let first = entryIndex(ticket.first << UInt64(geometry.clusterBits))
        for index in 0..<Int(ticket.count) {
            let old = ticket.table.entries[first + index]
            if !ticket.isReuse { dropReferences(of: old) }
            let place = ticket.place + UInt64(index) * geometry.clusterSize
            change(ticket.table, first + index, to: place | L2Entry.copied)
        }
    }

    public func abandon(_ ticket: consuming AllocationTicket) {
        let ticket = end(ticket.resolved())
        guard !ticket.isReuse else { return }
        freed.add(ClusterRun(start: ticket.place >> UInt64(geometry.clusterBits), count: ticket.count))
    }

    private func end(_ id: UInt64) -> Ticket {
        guard let index = tickets.firstIndex(where: { $0.id == id }) else {
            preconditionFailure("a ticket is ended that this image did not issue")
        }
        let ticket = tickets[index]
        tickets.swapAt(index, tickets.count - 1)
        tickets.removeLast()
        ticket.table.pins -= 1
        ticketsEnded.wakeAll()
        return ticket
    }

    public func settle(_ guest: ByteRange) async {
        let wanted = clusters(of: guest)
        while tickets.contains(where: { $0.overlaps(wanted) }) { await ticketsEnded.wait() }
    }

    /// Changes an entry in memory; the next commit writes it.
    func change(_ table: L2Table, _ position: Int, to entry: UInt64) {
        listDirty(table)
        table.set(entry, at: position)
    }

    /// The host clusters that an entry refers to; empty for none.
    func clustersNamed(by entry: UInt64) -> Range<UInt64> {
        let bits = UInt64(geometry.clusterBits)
        switch rules.read(entry) {
        case .unallocated, .invalid, .zero(offset: 0): return 0..<0
        case .zero(let offset), .data(let offset): return offset >> bits..<(offset >> bits) + 1
        case .compressed(let offset, let count): return offset >> bits..<((offset + count - 1) >> bits) + 1
        }
    }

    /// A metadata cluster that the entry claims, which it must not.
    func metadataNamed(by entry: UInt64) -> UInt64? {
        clustersNamed(by: entry).first { metadata.contains($0) }
    }

    /// The entry no longer counts among the references of the clusters it names.
    func dropReferences(of entry: UInt64) {
        let named = clustersNamed(by: entry)
        freed.add(ClusterRun(start: named.lowerBound, count: UInt64(named.count)))
    }
}
