import Block
import Bytes

extension Qcow2Check {
    /// Checks that the COPIED flag stands exactly where the refcount is 1, in the active tables, and repairs it.
    func checkCopied() async throws(BlockError) {
        // Refcounts are durable before a flag says that a cluster may be written in place.
        if repair != .none { try await file.flush() }
        guard damage.flags else { return }
        // A table is changed only where nothing else uses its place.
        let fixes =
            (repair == .all || repair == .refcounts) && result.checkErrors == 0 && damage.contested.isEmpty
            && damage.contestedTables.isEmpty
        let reader = RefcountReader(self)
        do throws(BlockError) {
            try await checkCopiedL1(reader, fixes: fixes)
            // Clusters of a file for data alone have no refcounts.
            if hasDataFile { return }
            try await forEachTable { (tables) async throws(BlockError) in
                for table in tables where table.isActive {
                    let offset = table.cluster << UInt64(self.geometry.clusterBits)
                    try await self.checkCopied(inL2At: offset, reader, fixes: fixes)
                }
            }
        } catch {
            if let ending { throw ending }
            // What cannot be read was told by the walk; what cannot be written is the caller's.
            if fixes { throw error }
            if result.checkErrors == 0 { throw error }
        }
    }

    private func checkCopiedL1(_ reader: RefcountReader, fixes: Bool) async throws(BlockError) {
        try await forEachEntry(at: header.l1TableOffset, count: UInt64(header.l1Size)) {
            (index, entry) async throws(BlockError) in
            let table = entry & L2Entry.offsetMask
            guard table != 0, table & self.geometry.clusterMask == 0 else { return }
            let refcount = try await reader.refcount(table >> UInt64(self.geometry.clusterBits))
            guard self.isWrong(entry, refcount) else { return }
            let what = "L2 cluster: l1_index=\(index) l1_entry=\(self.hex(entry)) refcount=\(refcount)"
            try await self.flip(entry, at: self.header.l1TableOffset + index * 8, what, fixes: fixes)
        }
    }

    private func checkCopied(inL2At table: UInt64, _ reader: RefcountReader, fixes: Bool) async throws(BlockError) {
        // Of an extended entry the bitmap is no descriptor; where data lies in a file of its own, nothing is counted there.
        let words = UInt64(geometry.l2EntrySize / 8)
        guard !hasDataFile else { return }
        try await forEachEntry(at: table, count: UInt64(geometry.l2Entries) * words) {
            (index, entry) async throws(BlockError) in
            guard index % words == 0 else { return }
            let place = entry & L2Entry.offsetMask
            guard entry & L2Entry.compressedFlag == 0, place != 0, place & self.geometry.clusterMask == 0 else {
                return
            }
            let refcount = try await reader.refcount(place >> UInt64(self.geometry.clusterBits))
            guard self.isWrong(entry, refcount) else { return }
            let what = "data cluster: l2_entry=\(self.hex(entry)) refcount=\(refcount)"
            try await self.flip(entry, at: table + index * 8, what, fixes: fixes)
        }
    }

    private func isWrong(_ entry: UInt64, _ refcount: UInt64) -> Bool {
        (refcount == 1) != (entry & L2Entry.copied != 0)
    }

    private func flip(_ entry: UInt64, at offset: UInt64, _ what: String, fixes: Bool) async throws(BlockError) {
        report("\(fixes ? "Repairing" : "ERROR") OFLAG_COPIED \(what)")
        guard fixes else {
            result.corruptions += 1
            return
        }
        try await write(entry ^ L2Entry.copied, at: offset)
        result.corruptionsFixed += 1
    }

    /// Reads single refcounts through pieces of blocks kept in memory: a lookup that finds none costs one short read.
    private final class RefcountReader {
        private let check: Qcow2Check
        /// By where they lie; nil where all is zero.
        private var pieces: [UInt64: [UInt8]?] = [:]
        private let pieceBytes: UInt64

        /// 16 MiB of pieces.
        private static let limit = 4096

        init(_ check: Qcow2Check) {
            self.check = check
            pieceBytes = min(4096, check.geometry.clusterSize)
        }

        func refcount(_ cluster: UInt64) async throws(BlockError) -> UInt64 {
            let block = cluster / check.geometry.refcountBlockEntries
            guard let offset = check.blockOffsets[block] else { return 0 }
            let perPiece = pieceBytes * 8 / UInt64(check.geometry.refcountBits)
            let number = cluster % check.geometry.refcountBlockEntries
            let start = offset + number / perPiece * pieceBytes
            if pieces[start] == nil {
                if pieces.count >= Self.limit { pieces.removeAll() }
                let bytes = try await check.read(ByteRange(at: start, count: pieceBytes))
                if let bytes { pieces[start] = bytes.bytes.array } else { pieces[start] = .some(nil) }
                try await check.step(Qcow2Check.stepsPerRead)
            }
            guard let piece = pieces[start] ?? nil else { return 0 }
            return check.packing.value(piece.byteSpan, at: Int(number % perPiece))
        }
    }
}
