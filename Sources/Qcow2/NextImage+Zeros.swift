import Block
import Bytes

extension NextImage {
    /// Says in every mapping, the snapshots' too, in the words of version 2 what is a cluster of zeros: without a backing file it
    /// is unallocated; over one it is a cluster that holds zeros.
    func expandZeros() async throws(BlockError) {
        var list = snapshots
        for (index, snapshot) in list.enumerated() {
            let old = try await image.l1Table(of: snapshot)
            let new = try await expanded(old)
            guard new != old else { continue }
            let row = try await writeTable(new)
            try await refcounts.change(l1Clusters(snapshot.l1TableOffset, old.count), by: -1)
            list[index] = snapshot.moved(to: row)
        }
        if list != snapshots { try await writeSnapshots(list) }
        // A cluster that a snapshot called zeros may be the disk's alone now.
        let new = try await flagged(try await expanded(l1))
        guard new != l1 else { return }
        try await dropL1()
        try await writeL1(new, entries: new.count)
    }

    /// The mapping without clusters of zeros; tables that had some are copied.
    private func expanded(_ l1: [UInt64]) async throws(BlockError) -> [UInt64] {
        var expanded = l1
        for (index, entry) in l1.enumerated() {
            guard let table = try await table(entry, index) else { continue }
            for position in 0..<table.count {
                guard case .zero(let place) = image.rules.read(table[position]) else { continue }
                if let place { try await refcounts.change(place >> bits, by: -1) }
                table.set(try await zeros(), at: position)
            }
            guard table.dirty != 0 else { continue }
            try await refcounts.change(table.offset >> bits, by: -1)
            expanded[index] = try await write(table)
        }
        return expanded
    }

    private func zeros() async throws(BlockError) -> L2Entry {
        guard image.header.backingFileName != nil else { return .none }
        let row = try await refcounts.takeRow(1)
        let buffer = AlignedBuffer(byteCount: Int(image.geometry.clusterSize))
        try await image.file.write(at: row.start << bits, from: buffer.bytes, flags: [])
        return L2Entry(descriptor: row.start << bits | L2Entry.copied)
    }
}
