public import Block
public import Bytes

/// A place that somebody fills: guest subclusters of one table that nobody else may touch meanwhile.
struct Ticket {
    let id: UInt64
    /// Numbers of the subclusters that are kept for it.
    let held: Range<UInt64>
    /// Those of them that the place holds once it is filled: the first and the last cluster may have others.
    let filled: Range<UInt64>
    /// Numbers of the guest clusters that these are parts of.
    let clusters: Range<UInt64>
    /// Offset in the file of the first cluster. Tickets for parts of one new cluster share its place.
    let place: UInt64
    let table: L2Table
    /// Whether the entries name the place already, which they keep if the ticket is abandoned.
    let isReuse: Bool
    /// The entry that names the place, where the cluster is stored compressed.
    var encoded: L2Entry?

    func overlaps(_ subclusters: Range<UInt64>) -> Bool { held.overlaps(subclusters) }
    func touches(_ cluster: UInt64) -> Bool { clusters.contains(cluster) }
}

extension Qcow2Image {
    /// Numbers of the guest subclusters that a range touches.
    func subclusters(of guest: ByteRange) -> Range<UInt64> {
        let bits = UInt64(geometry.subclusterBits)
        let first = guest.start >> bits
        return first..<(guest.isEmpty ? first : ((guest.end - 1) >> bits) + 1)
    }

    /// The number of the guest cluster that an offset lies in.
    func cluster(of guest: UInt64) -> UInt64 { guest >> UInt64(geometry.clusterBits) }

    /// The number of the first subcluster of a cluster.
    private func subcluster(of cluster: UInt64) -> UInt64 { cluster << UInt64(geometry.subclustersShift) }

    /// Numbers of the guest clusters that these subclusters are parts of.
    private func clusters(of subclusters: Range<UInt64>) -> Range<UInt64> {
        let shift = UInt64(geometry.subclustersShift)
        return subclusters.lowerBound >> shift..<((subclusters.upperBound - 1) >> shift) + 1
    }

    /// The number of the first subcluster behind those that the table of `guest` maps.
    func tableEnd(_ guest: UInt64) -> UInt64 {
        ((guest >> tableShift) + 1) << (tableShift - UInt64(geometry.subclusterBits))
    }

    /// Subclusters of one table, entry by entry.
    func parts(of subclusters: Range<UInt64>) -> EntryParts { EntryParts(subclusters, geometry) }

    /// Whether somebody fills a part of the guest cluster, and counts on its place.
    func isBeingFilled(_ cluster: UInt64) -> Bool { tickets.contains { $0.touches(cluster) } }

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
        guard !guest.isEmpty, guest.end <= length else { return .failed(.outOfRange) }
        return allocateMapped(guest)
    }

    /// Takes a place for bytes that the L1 table reaches, on the disk or behind it.
    func allocateMapped(_ guest: ByteRange) -> Allocation {
        if let writeRefusal { return .failed(writeRefusal) }
        switch tableToChange(at: guest.start) {
        case .needs(let need): return .needs(need)
        case .failed(let failure): return .failed(failure)
        case .table(let table): return allocate(guest, in: table)
        }
    }

    /// What may be allocated at once from the first byte of a request on.
    private struct Room {
        /// Numbers of the subclusters.
        var subclusters: Range<UInt64>
        /// The place of their cluster, where others are filling parts of it.
        var place: UInt64?
    }

    /// The room that other tickets leave, nil where there is none. A cluster of which others fill parts stands alone: its
    /// place is theirs.
    private func room(for guest: ByteRange) -> Room? {
        let wanted = subclusters(of: guest)
        let first = wanted.lowerBound
        var room = Room(subclusters: first..<min(wanted.upperBound, tableEnd(guest.start)))
        let cluster = cluster(of: guest.start)
        for ticket in tickets where ticket.clusters.overlaps(clusters(of: room.subclusters)) {
            if ticket.held.contains(first) { return nil }
            guard ticket.touches(cluster) else {
                room.subclusters = first..<subcluster(of: ticket.clusters.lowerBound)
                continue
            }
            let next = ticket.held.lowerBound > first ? ticket.held.lowerBound : .max
            room.subclusters = first..<min(room.subclusters.upperBound, next, subcluster(of: cluster + 1))
            if !ticket.isReuse {
                room.place = ticket.place + (cluster - ticket.clusters.lowerBound) * geometry.clusterSize
            }
        }
        return room
    }

    private func allocate(_ guest: ByteRange, in table: L2Table) -> Allocation {
        guard let room = room(for: guest) else { return .busy }
        let entry = table[entryIndex(guest.start)]
        let mapping = rules.read(entry, subclusterIndex(guest.start))
        if mapping == .invalid {
            return hasReportedCorruption ? .failed(.corrupt) : .needs(Need.reportEntry.at(guest.start))
        }
        if rules.hasDataFile {
            // Somebody placed it since the caller looked: now it is written in place.
            if case .data = mapping, entry.isOwn { return .busy }
            return placeInDataFile(guest, room.subclusters, table)
        }
        if let cluster = metadataNamed(by: entry) { return .needs(Need.reportOverlap.at(cluster)) }
        if entry.isOwn, let place = rules.place(of: entry) {
            guard let placed = reusable(room.subclusters, in: table, from: place) else { return .busy }
            return .ticket(issue(guest, placed, place: place, table, isReuse: true, readsZero: false))
        }
        if let place = room.place {
            return .ticket(issue(guest, room.subclusters, place: place, table, isReuse: false, readsZero: false))
        }
        switch takeRun(atMost: UInt64(placeless(room.subclusters, in: table))) {
        case .needs(let need): return .needs(need)
        case .noSpace: return .failed(.noSpace)
        case .run(let run, let readsZero):
            let end = subcluster(of: cluster(of: guest.start) + run.count)
            let taken = room.subclusters.clamped(to: 0..<end)
            let place = run.start << UInt64(geometry.clusterBits)
            return .ticket(issue(guest, taken, place: place, table, isReuse: false, readsZero: readsZero))
        }
    }

    /// A ticket for a place in the file for data alone: where the guest has it, whatever was there before.
    private func placeInDataFile(_ guest: ByteRange, _ wanted: Range<UInt64>, _ table: L2Table) -> Allocation {
        let place = cluster(of: guest.start) << UInt64(geometry.clusterBits)
        guard place < Limits.hostOffset, guest.end <= Limits.hostOffset else { return .failed(.noSpace) }
        var end = wanted.lowerBound
        placing: for (position, subclusters) in parts(of: wanted) {
            let entry = table[position]
            for subcluster in subclusters {
                switch rules.read(entry, subcluster) {
                case .data where entry.isOwn: break placing
                case .compressed, .invalid: break placing
                default: end += 1
                }
            }
        }
        return .ticket(
            issue(guest, wanted.lowerBound..<end, place: place, table, isReuse: true, readsZero: false))
    }

    /// The first subclusters that have a place of their own, with data or without, where their clusters follow one another
    /// in the file from `place` on: one write fills them. Nil where all of them hold data, which is written in place.
    private func reusable(_ wanted: Range<UInt64>, in table: L2Table, from place: UInt64) -> Range<UInt64>? {
        var (end, place) = (wanted.lowerBound, place)
        var isData = true
        for (position, subclusters) in parts(of: wanted) {
            let entry = table[position]
            guard entry.isOwn, rules.place(of: entry) == place, metadataNamed(by: entry) == nil else { break }
            for subcluster in subclusters where isData { isData = rules.isData(entry, subcluster) }
            end += UInt64(subclusters.count)
            place += geometry.clusterSize
        }
        return isData ? nil : wanted.lowerBound..<end
    }

    /// Whether a subcluster holds data where it is written in place.
    private func isInPlace(_ subcluster: UInt64, _ table: L2Table) -> Bool {
        let guest = subcluster << UInt64(geometry.subclusterBits)
        let entry = table[entryIndex(guest)]
        return entry.isOwn && rules.isData(entry, subclusterIndex(guest))
    }

    /// How many clusters in a row need a new place.
    private func placeless(_ wanted: Range<UInt64>, in table: L2Table) -> Int {
        var count = 0
        for (position, _) in parts(of: wanted) {
            let entry = table[position]
            guard !entry.isOwn || rules.place(of: entry) == nil, rules.read(entry) != .invalid,
                metadataNamed(by: entry) == nil
            else { break }
            count += 1
        }
        return count
    }

    /// Issues a ticket for subclusters that begin where `guest` does. A cluster whose data lies elsewhere moves to the new
    /// place with all its data, and is held whole meanwhile.
    private func issue(
        _ guest: ByteRange, _ wanted: Range<UInt64>, place: UInt64, _ table: L2Table, isReuse: Bool, readsZero: Bool
    ) -> AllocationTicket {
        var (held, filled) = (wanted, wanted)
        let clusters = clusters(of: wanted)
        if !isReuse, geometry.hasExtendedL2 {
            for cluster in [clusters.lowerBound, clusters.upperBound - 1] {
                let data = rules.data(of: table[entryIndex(cluster << UInt64(geometry.clusterBits))])
                guard !data.isEmpty else { continue }
                let start = subcluster(of: cluster)
                held = min(held.lowerBound, start)..<max(held.upperBound, subcluster(of: cluster + 1))
                filled =
                    min(
                        filled.lowerBound, start + UInt64(data.lowerBound))..<max(
                        filled.upperBound, start + UInt64(data.upperBound))
            }
        }
        let ticket = Ticket(
            id: nextTicket, held: held, filled: filled, clusters: clusters, place: place, table: table, isReuse: isReuse
        )
        nextTicket += 1
        tickets.append(ticket)
        table.pins += 1
        let bits = UInt64(geometry.subclusterBits)
        var whole = ByteRange(from: filled.lowerBound << bits, to: filled.upperBound << bits)
        let part = ByteRange(from: wanted.lowerBound << bits, to: wanted.upperBound << bits).intersection(guest)
        // Around what is written in place others may write meanwhile: nothing is copied there.
        if isReuse, isInPlace(wanted.lowerBound, table) { whole = ByteRange(from: part.start, to: whole.end) }
        if isReuse, isInPlace(wanted.upperBound - 1, table) { whole = ByteRange(from: whole.start, to: part.end) }
        // A file for data ends where the disk does.
        let end = rules.hasDataFile ? min(whole.end, max(length, part.end)) : whole.end
        return AllocationTicket(
            id: ticket.id, guest: part, head: ByteRange(from: whole.start, to: part.start),
            tail: ByteRange(from: part.end, to: end),
            offset: place + (part.start - clusters.lowerBound << UInt64(geometry.clusterBits)), readsZero: readsZero)
    }

    public func publish(_ ticket: consuming AllocationTicket) {
        let ticket = end(ticket.resolved())
        if let entry = ticket.encoded { return publish(entry, of: ticket) }
        var place = ticket.place
        for (position, subclusters) in parts(of: ticket.filled) {
            replace(ticket.table, position, with: rules.placed(ticket.table[position], subclusters, at: place))
            place += geometry.clusterSize
        }
    }

    public func abandon(_ ticket: consuming AllocationTicket) {
        let ticket = end(ticket.resolved())
        if let entry = ticket.encoded { return dropReferences(of: entry) }
        guard !ticket.isReuse else { return }
        let bits = UInt64(geometry.clusterBits)
        for cluster in ticket.clusters {
            let place = ticket.place + (cluster - ticket.clusters.lowerBound) << bits
            // Others may fill parts of the cluster, or have filled them.
            guard rules.place(of: ticket.table[entryIndex(cluster << bits)]) != place,
                !tickets.contains(where: { $0.touches(cluster) && !$0.isReuse })
            else { continue }
            freed.add(ClusterRun(start: place >> bits, count: 1))
        }
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
        let wanted = subclusters(of: guest)
        while tickets.contains(where: { $0.overlaps(wanted) }) { await ticketsEnded.wait() }
    }

    /// Changes an entry in memory; the next commit writes it.
    func change(_ table: L2Table, _ position: Int, to entry: L2Entry) {
        listDirty(table)
        table.set(entry, at: position)
    }

    /// Changes an entry, and lets go of what it named and the new one does not.
    func replace(_ table: L2Table, _ position: Int, with entry: L2Entry) {
        let old = table[position]
        guard old != entry else { return }
        if clustersNamed(by: old) != clustersNamed(by: entry) { dropReferences(of: old) }
        change(table, position, to: entry)
    }

    /// The clusters of the image's file that an entry refers to; empty for none.
    func clustersNamed(by entry: L2Entry) -> Range<UInt64> {
        if rules.hasDataFile { return 0..<0 }
        let bits = UInt64(geometry.clusterBits)
        if case .compressed(let offset, let count) = rules.read(entry) {
            return offset >> bits..<((offset + count - 1) >> bits) + 1
        }
        guard let place = rules.place(of: entry) else { return 0..<0 }
        return place >> bits..<(place >> bits) + 1
    }

    /// A metadata cluster that the entry claims, which it must not.
    func metadataNamed(by entry: L2Entry) -> UInt64? {
        clustersNamed(by: entry).first { metadata.contains($0) }
    }

    /// The entry no longer counts among the references of the clusters it names.
    func dropReferences(of entry: L2Entry) {
        let named = clustersNamed(by: entry)
        // Where something was let go, nothing is added any more: what is on its way to be free is used for nothing (O5).
        if let packing, named.contains(packing.cluster) { self.packing = nil }
        freed.add(ClusterRun(start: named.lowerBound, count: UInt64(named.count)))
    }
}
