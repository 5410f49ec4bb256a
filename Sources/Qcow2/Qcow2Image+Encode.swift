public import Block
public import Bytes
import Codecs

/// The host cluster that compressed clusters are being packed into.
///
/// Each begins at a sector of its own: a sector that holds flushed bytes is never written again, so that a crash in the
/// middle of a write harms no neighbour (D1). What lies in the cluster has one reference each, and the cluster is free
/// once all are gone.
struct PackingPlace {
    let cluster: UInt64
    /// Bytes taken from its start.
    var used: UInt64
}

extension Qcow2Image {
    /// None where data lies apart, for there a cluster lies whole where the guest has it.
    public var encoder: ClusterEncoding? {
        if rules.hasDataFile { return nil }
        let (type, room) = (header.compressionType, Int(geometry.clusterSize) - 512)
        // A cluster of one sector becomes no smaller.
        guard room > 0 else { return { _ in nil } }
        return { cluster in type.codec.encode(cluster.byteSpan, room: room, unit: 512) }
    }

    public func allocate(encoded count: UInt64, for guest: ByteRange) -> Allocation {
        if let writeRefusal { return .failed(writeRefusal) }
        if rules.hasDataFile { return .failed(.unsupported) }
        guard !guest.isEmpty, guest.end <= length, guest.start & geometry.clusterMask == 0,
            guest.count <= geometry.clusterSize, count > 0, count < geometry.clusterSize
        else { return .failed(.outOfRange) }
        switch tableToChange(at: guest.start) {
        case .needs(let need): return .needs(need)
        case .failed(let failure): return .failed(failure)
        case .table(let table): return allocate(encoded: count, for: guest, in: table)
        }
    }

    private func allocate(encoded count: UInt64, for guest: ByteRange, in table: L2Table) -> Allocation {
        let cluster = cluster(of: guest.start)
        if isBeingFilled(cluster) { return .busy }
        let entry = table[entryIndex(guest.start)]
        if rules.read(entry) == .invalid {
            return hasReportedCorruption ? .failed(.corrupt) : .needs(Need.reportEntry.at(guest.start))
        }
        if let cluster = metadataNamed(by: entry) { return .needs(Need.reportOverlap.at(cluster)) }
        switch takeBytes(count) {
        case .needs(let need): return .needs(need)
        case .noSpace: return .failed(.noSpace)
        case .place(let offset):
            let subclusters = UInt64(geometry.subclusters)
            let held = cluster * subclusters..<(cluster + 1) * subclusters
            let sectors = count / 512 - 1
            let ticket = Ticket(
                id: nextTicket, held: held, filled: held, clusters: cluster..<cluster + 1, place: offset, table: table,
                isReuse: false,
                encoded: L2Entry(
                    descriptor: L2Entry.compressedFlag | sectors << geometry.compressedShift | offset))
            nextTicket += 1
            tickets.append(ticket)
            table.pins += 1
            return .ticket(
                AllocationTicket(
                    id: ticket.id, guest: guest, head: guest.prefix(0), tail: ByteRange(at: guest.end, count: 0),
                    offset: offset, readsZero: false))
        }
    }

    /// Names a compressed cluster, in place of whatever the entry named. Both may lie in one host cluster, in which each
    /// has its own reference.
    func publish(_ entry: L2Entry, of ticket: Ticket) {
        let position = entryIndex(ticket.clusters.lowerBound << UInt64(geometry.clusterBits))
        dropReferences(of: ticket.table[position])
        change(ticket.table, position, to: entry)
    }

    private enum TakenBytes {
        case place(offset: UInt64)
        case needs(TableNeed)
        case noSpace
    }

    /// Takes whole sectors behind those that were taken last, into the next cluster where that follows; else at the start of
    /// a new one.
    private func takeBytes(_ count: UInt64) -> TakenBytes {
        let bits = UInt64(geometry.clusterBits)
        var open: (place: PackingPlace, block: RefcountBlock, position: Int)?
        if let packing, packing.used < geometry.clusterSize {
            let index = Int(packing.cluster >> UInt64(geometry.refcountBlockBits))
            guard let block = blocks.find(index) else { return .needs(Need.loadBlock.at(index)) }
            let position = Int(packing.cluster & (geometry.refcountBlockEntries - 1))
            if (1..<geometry.refcountMax).contains(block[position]) { open = (packing, block, position) }
        }
        if let open, open.place.used + count <= geometry.clusterSize {
            setRefcount(open.block[open.position] + 1, at: open.position, in: open.block)
            packing?.used += count
            return .place(offset: open.place.cluster << bits + open.place.used)
        }
        switch takeRun(atMost: 1) {
        case .needs(let need): return .needs(need)
        case .noSpace: return .noSpace
        case .run(let run, _):
            guard (run.start + 1) << bits <= 1 << geometry.compressedShift else {
                // No descriptor reaches so far.
                freed.add(run)
                return .noSpace
            }
            if let open, run.start == open.place.cluster + 1 {
                setRefcount(open.block[open.position] + 1, at: open.position, in: open.block)
                packing = PackingPlace(cluster: run.start, used: open.place.used + count - geometry.clusterSize)
                return .place(offset: open.place.cluster << bits + open.place.used)
            }
            packing = PackingPlace(cluster: run.start, used: count)
            return .place(offset: run.start << bits)
        }
    }
}
