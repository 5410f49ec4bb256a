import Block
import Bytes

extension Qcow2Check {
    private static var copiedFlag: UInt64 { 1 << 63 }

    /// Checks that the COPIED flag stands exactly where the refcount is 1, in the active tables, and repairs it.
    func checkCopied() async throws(BlockError) {
        // Refcounts are durable before a flag says that a cluster may be written in place.
        if repair != .none { try await file.flush() }
        let fixes = repair == .all && result.checkErrors == 0
        let counts = RefcountReader(self)
        do throws(BlockError) {
            try await forEachEntry(at: header.l1TableOffset, count: UInt64(header.l1Size)) {
                (index, entry) async throws(BlockError) in
                let table = entry & 0x00FF_FFFF_FFFF_FE00
                guard table != 0, table & self.geometry.clusterMask == 0 else { return }
                let refcount = try await counts.refcount(table >> UInt64(self.geometry.clusterBits))
                if self.isWrong(entry, refcount) {
                    let what = "L2 cluster: l1_index=\(index) l1_entry=\(self.hex(entry)) refcount=\(refcount)"
                    try await self.flip(entry, at: self.header.l1TableOffset + index * 8, what, fixes: fixes)
                }
                try await self.checkCopied(inL2At: table, counts, fixes: fixes)
            }
        } catch {
            // What cannot be read was told by the walk; what cannot be written is the caller's.
            if fixes { throw error }
            if result.checkErrors == 0 { throw error }
        }
    }

    private func checkCopied(inL2At table: UInt64, _ counts: RefcountReader, fixes: Bool) async throws(BlockError) {
        try await forEachEntry(at: table, count: UInt64(geometry.l2Entries)) {
            (index, entry) async throws(BlockError) in
            let place = entry & 0x00FF_FFFF_FFFF_FE00
            guard entry & 1 << 62 == 0, place != 0, place & self.geometry.clusterMask == 0 else { return }
            let refcount = try await counts.refcount(place >> UInt64(self.geometry.clusterBits))
            guard self.isWrong(entry, refcount) else { return }
            let what = "data cluster: l2_entry=\(self.hex(entry)) refcount=\(refcount)"
            try await self.flip(entry, at: table + index * 8, what, fixes: fixes)
        }
    }

    private func isWrong(_ entry: UInt64, _ refcount: UInt64) -> Bool {
        (refcount == 1) != (entry & Self.copiedFlag != 0)
    }

    private func flip(_ entry: UInt64, at offset: UInt64, _ what: String, fixes: Bool) async throws(BlockError) {
        report("\(fixes ? "Repairing" : "ERROR") OFLAG_COPIED \(what)")
        guard fixes else {
            result.corruptions += 1
            return
        }
        try await write(entry ^ Self.copiedFlag, at: offset)
        result.corruptionsFixed += 1
    }

    /// Reads single refcounts through a few blocks kept in memory.
    private final class RefcountReader {
        private let check: Qcow2Check
        private var blocks: [UInt64: [UInt8]] = [:]
        private let limit: Int

        init(_ check: Qcow2Check) {
            self.check = check
            // 16 MiB of blocks.
            limit = max(4, (16 << 20) >> Int(check.geometry.clusterBits))
        }

        func refcount(_ cluster: UInt64) async throws(BlockError) -> UInt64 {
            let bits = UInt64(check.geometry.refcountBlockBits)
            let (block, index) = (cluster >> bits, Int(cluster & ((1 << bits) - 1)))
            guard let offset = check.blockOffsets[block] else { return 0 }
            if blocks[block] == nil {
                if blocks.count >= limit { blocks.removeAll() }
                let range = ByteRange(at: offset, count: check.geometry.clusterSize)
                var bytes = [UInt8](repeating: 0, count: Int(range.count))
                if let buffer = try await check.read(range) { bytes.withMutableBytes { $0.copy(buffer.bytes) } }
                blocks[block] = bytes
            }
            return blocks[block]?.withMutableBytes { check.packing.value($0.bytes, at: index) } ?? 0
        }
    }
}
