import Block
import Bytes

extension Qcow2Check {
    private static var offsetMask: UInt64 { 0x00FF_FFFF_FFFF_FE00 }
    private static var copiedFlag: UInt64 { 1 << 63 }
    private static var compressedFlag: UInt64 { 1 << 62 }

    /// Counts all references of the image; the refcount table's own are left out while it is rebuilt.
    func walk(refcountStructures: Bool) async {
        reference(0, geometry.clusterSize)
        await walkL1(at: header.l1TableOffset, entries: UInt64(header.l1Size), isActive: true)
        await walkSnapshots()
        await walkBitmaps()
        walkEncryption()
        if refcountStructures { await walkRefcountTable() }
    }

    // MARK: guest data

    func walkL1(at offset: UInt64, entries: UInt64, isActive: Bool) async {
        reference(offset, entries * 8)
        do throws(BlockError) {
            try await forEachEntry(at: offset, count: entries) { (_, entry) async throws(BlockError) in
                if entry & 0x7F00_0000_0000_01FF != 0 {
                    self.corruption("ERROR found L1 entry with reserved bits set: \(self.hex(entry))")
                }
                let table = entry & Self.offsetMask
                guard table != 0 else { return }
                self.reference(table, self.geometry.clusterSize)
                if table & self.geometry.clusterMask != 0 {
                    self.corruption(
                        "ERROR l2_offset=\(self.hex(table)): Table is not cluster aligned; L1 entry corrupted")
                }
                await self.walkL2(at: table, isActive: isActive)
            }
        } catch {
            unreadable("ERROR: I/O error in check_refcounts_l1")
        }
    }

    private func walkL2(at table: UInt64, isActive: Bool) async {
        var unaligned: [Int] = []
        do throws(BlockError) {
            guard let bytes = try await read(ByteRange(at: table, count: geometry.clusterSize)) else { return }
            unaligned = countL2(bytes.bytes, isActive: isActive)
        } catch {
            return unreadable("ERROR: I/O error in check_refcounts_l2")
        }
        // A zero cluster whose reserved place is impossible loses the place; it reads as before.
        for index in unaligned {
            do throws(BlockError) {
                try await write(1, at: table + UInt64(index) * 8)
                result.corruptionsFixed += 1
            } catch { unreadable("ERROR: Failed to overwrite L2 table entry: \(error.sentence)") }
        }
    }

    /// Counts what one L2 table references. Answers the entries to be replaced by plain zero clusters.
    private func countL2(_ bytes: RawSpan, isActive: Bool) -> [Int] {
        var unaligned: [Int] = []
        var next: UInt64 = 0
        for index in 0..<geometry.l2Entries {
            let entry = bytes.bigEndian(UInt64.self, at: index * 8)
            if entry == 0 { continue }
            if entry & Self.compressedFlag != 0 {
                countCompressed(entry, isActive: isActive)
                continue
            }
            let reserved: UInt64 = header.version >= 3 ? 0x3F00_0000_0000_01FE : 0x3F00_0000_0000_01FF
            if entry & reserved != 0 {
                corruption("ERROR found l2 entry with reserved bits set: \(hex(entry))")
            }
            let place = entry & Self.offsetMask
            guard place != 0 else { continue }
            let isZero = header.version >= 3 && entry & 1 != 0
            if place & geometry.clusterMask != 0, replacesUnaligned(place, isZero: isZero) {
                unaligned.append(index)
                continue
            }
            reference(place, geometry.clusterSize)
            if isActive, isFirstWalk {
                result.allocatedClusters += 1
                if next != 0, place != next { result.fragmentedClusters += 1 }
                next = place + geometry.clusterSize
            }
        }
        return unaligned
    }

    /// Reports a place that is not a cluster's; true where the entry is to be repaired.
    private func replacesUnaligned(_ place: UInt64, isZero: Bool) -> Bool {
        guard isZero else {
            corruption("ERROR offset=\(hex(place)): Data cluster is not properly aligned; L2 entry corrupted.")
            return false
        }
        let text = "offset=\(hex(place)): Preallocated cluster is not properly aligned; L2 entry corrupted."
        guard repair == .all, isFirstWalk, result.checkErrors == 0 else {
            corruption("ERROR \(text)")
            return false
        }
        report("Repairing \(text)")
        return true
    }

    private func countCompressed(_ entry: UInt64, isActive: Bool) {
        let shift = UInt64(62 - (geometry.clusterBits - 8))
        let place = entry & ((1 << shift) - 1)
        if entry & Self.copiedFlag != 0 {
            corruption("ERROR: coffset=0x\(hex(place)): copied flag must never be set for compressed clusters")
        }
        let sectors = (entry & ~(Self.copiedFlag | Self.compressedFlag)) >> shift + 1
        reference(place, sectors * 512 - (place & 511))
        if isActive, isFirstWalk {
            result.allocatedClusters += 1
            result.compressedClusters += 1
            result.fragmentedClusters += 1
        }
    }

    // MARK: the rest

    /// Every snapshot's L1 table, and the snapshot table itself.
    private func walkSnapshots() async {
        var offset = header.snapshotsOffset
        for _ in 0..<header.snapshotCount {
            guard offset - header.snapshotsOffset <= Limits.snapshotTableBytes,
                let range = ByteRange(checked: offset, count: 40)
            else { return corruption("ERROR snapshot table is too large") }
            do throws(BlockError) {
                guard let entry = try await read(range) else { return corruption("ERROR snapshot table is truncated") }
                let l1 = entry.bytes.bigEndian(UInt64.self, at: 0)
                let count = UInt64(entry.bytes.bigEndian(UInt32.self, at: 8))
                let names =
                    UInt64(entry.bytes.bigEndian(UInt16.self, at: 12))
                    + UInt64(entry.bytes.bigEndian(UInt16.self, at: 14))
                let extra = UInt64(entry.bytes.bigEndian(UInt32.self, at: 36))
                offset = (offset + 40 + extra + names + 7) & ~7
                if l1 & geometry.clusterMask != 0 {
                    corruption(
                        "ERROR snapshot l1_offset=0x\(hex(l1)): L1 table is not cluster aligned; "
                            + "snapshot table entry corrupted")
                    continue
                }
                if count * 8 > Limits.l1Bytes {
                    corruption(
                        "ERROR snapshot l1_size=0x\(hex(count)): L1 table is too large; snapshot table entry corrupted")
                    continue
                }
                await walkL1(at: l1, entries: count, isActive: false)
            } catch { return unreadable("ERROR: I/O error in the snapshot table") }
        }
        reference(header.snapshotsOffset, offset - header.snapshotsOffset)
    }

    private func walkBitmaps() async {
        guard header.autoclear.contains(.bitmaps),
            let part = header.extensions.first(where: { $0.type == HeaderExtension.bitmapsType })
        else { return }
        let data = part.data
        guard data.count >= 24 else { return corruption("ERROR bitmaps extension is too short") }
        let (bytes, start) = (Self.number(data, at: 8), Self.number(data, at: 16))
        guard bytes <= Limits.snapshotTableBytes, start & geometry.clusterMask == 0,
            let range = ByteRange(checked: start, count: bytes)
        else { return corruption("ERROR bitmaps extension names an impossible directory") }
        reference(start, bytes)
        do throws(BlockError) {
            var offset: UInt64 = 0
            while offset + 24 <= bytes {
                guard let entry = try await read(ByteRange(at: start + offset, count: 24)) else {
                    return corruption("ERROR bitmap directory \(range) is damaged")
                }
                let table = entry.bytes.bigEndian(UInt64.self, at: 0)
                let count = UInt64(entry.bytes.bigEndian(UInt32.self, at: 8))
                let names = UInt64(entry.bytes.bigEndian(UInt16.self, at: 18))
                offset = (offset + 24 + names + UInt64(entry.bytes.bigEndian(UInt32.self, at: 20)) + 7) & ~7
                guard table & geometry.clusterMask == 0, table < Limits.hostOffset else {
                    corruption("ERROR bitmap table offset=\(hex(table)) is not cluster aligned")
                    continue
                }
                // A table that the file does not hold is no table: walking it would cost what it claims.
                guard count * 8 <= file.length, table <= file.length - count * 8 else {
                    corruption("ERROR bitmap table offset=\(hex(table)) ends past the end of the file")
                    continue
                }
                reference(table, count * 8)
                try await forEachEntry(at: table, count: count) { (_, value) in
                    let place = value & Self.offsetMask
                    if place != 0 { self.reference(place, self.geometry.clusterSize) }
                }
            }
        } catch { unreadable("ERROR: I/O error in the bitmap directory") }
    }

    /// The header of an encryption format, which lies in clusters of its own.
    private func walkEncryption() {
        guard let part = header.extensions.first(where: { $0.type == HeaderExtension.encryptionType }),
            part.data.count >= 16
        else { return }
        reference(Self.number(part.data, at: 0), Self.number(part.data, at: 8))
    }

    private func walkRefcountTable() async {
        let bytes = UInt64(header.refcountTableClusters) << UInt64(header.clusterBits)
        reference(header.refcountTableOffset, bytes)
        do throws(BlockError) {
            var seen: Set<UInt64> = []
            try await forEachEntry(at: header.refcountTableOffset, count: bytes / 8) { (index, entry) in
                let block = entry & ~0x1FF
                let isInside = block & self.geometry.clusterMask == 0 && block < self.file.length
                if isInside { self.blockOffsets[index] = block }
                if entry & 0x1FF != 0 {
                    self.corruption("ERROR refcount table entry \(index) has reserved bits set", rebuilds: true)
                } else if block & self.geometry.clusterMask != 0 {
                    self.corruption(
                        "ERROR refcount block \(index) is not cluster aligned; refcount table entry corrupted",
                        rebuilds: true)
                } else if !isInside {
                    self.corruption("ERROR refcount block \(index) is outside image", rebuilds: true)
                } else {
                    self.reference(block, self.geometry.clusterSize)
                    guard self.isFirstWalk, !seen.insert(block).inserted else { return }
                    self.corruption("ERROR refcount block \(index) refcount=2", rebuilds: true)
                }
            }
        } catch { unreadable("ERROR: I/O error in the refcount table") }
    }

    private static func number(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        bytes[offset..<offset + 8].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
