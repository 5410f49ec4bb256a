import Block
import Bytes
import DirtyMap

extension Qcow2Check {
    func walkBitmaps() async throws(BlockError) {
        guard header.autoclear.contains(.bitmaps),
            let part = header.extensions.first(where: { $0.type == HeaderExtension.bitmapsType })
        else { return }
        guard try await openBitmaps() else { return }
        let data = part.data
        guard data.count >= 24 else { return bitmapDamage("ERROR bitmaps extension is too short") }
        let (bytes, start) = (Self.number(data, at: 8), Self.number(data, at: 16))
        guard bytes <= Limits.snapshotTableBytes, start & geometry.clusterMask == 0,
            let range = ByteRange(checked: start, count: bytes)
        else { return bitmapDamage("ERROR bitmaps extension names an impossible directory") }
        if !use(.bitmaps, start, bytes) { damage.bitmaps = true }
        do throws(BlockError) {
            var tables: [BitmapTable: UInt32] = [:]
            var tableBytes: UInt64 = 0
            var (offset, found): (UInt64, UInt32) = (0, 0)
            while offset + 24 <= bytes {
                found += 1
                guard found <= Limits.bitmaps else {
                    return bitmapDamage("ERROR bitmap directory \(range) lists more bitmaps than an image may have")
                }
                guard let entry = try await read(ByteRange(at: start + offset, count: 24)) else {
                    return bitmapDamage("ERROR bitmap directory \(range) is damaged")
                }
                let table = entry.bytes.bigEndian(UInt64.self, at: 0)
                let count = UInt64(entry.bytes.bigEndian(UInt32.self, at: 8))
                let names = UInt64(entry.bytes.bigEndian(UInt16.self, at: 18))
                offset = (offset + 24 + names + UInt64(entry.bytes.bigEndian(UInt32.self, at: 20)) + 7) & ~7
                try await step(Self.stepsPerRead)
                guard table & geometry.clusterMask == 0, table < Limits.hostOffset else {
                    bitmapDamage("ERROR bitmap table offset=\(hex(table)) is not cluster aligned")
                    continue
                }
                // A table that the file does not hold is no table: walking it would cost what it claims.
                guard count * 8 <= file.length, table <= file.length - count * 8 else {
                    bitmapDamage("ERROR bitmap table offset=\(hex(table)) ends past the end of the file")
                    continue
                }
                let place = BitmapTable(offset: table, entries: count)
                if tables[place] == nil { tableBytes += count * 8 }
                guard tableBytes <= Limits.checkedBitmapTableBytes else {
                    return try unreadable("ERROR bitmap tables are too large to be checked")
                }
                tables[place, default: 0] += 1
            }
            for (table, times) in tables.sorted(by: { $0.key.offset < $1.key.offset }) {
                try await walkBitmap(table, times)
            }
        } catch { try unreadable("ERROR: I/O error in the bitmap directory") }
    }

    private struct BitmapTable: Hashable {
        let offset: UInt64
        let entries: UInt64
    }

    private func walkBitmap(_ table: BitmapTable, _ times: UInt32) async throws(BlockError) {
        if !use(.bitmaps, table.offset, table.entries * 8, times: times) { damage.bitmaps = true }
        try await forEachEntry(at: table.offset, count: table.entries) { (_, value) in
            let place = value & L2Entry.offsetMask
            if place != 0, !self.reference(place, self.geometry.clusterSize, times: times) {
                self.damage.bitmaps = true
            }
        }
    }

    /// Bytes of bits that are read for it.
    private static var bitmapBytes: UInt64 { 64 << 20 }

    /// Reads the bitmaps as an opening does, for which what contradicts itself there is a reason to refuse. False where they
    /// cannot be read.
    private func openBitmaps() async throws(BlockError) -> Bool {
        guard isFirstWindow else { return true }
        do throws(OpenError) {
            _ = try await Qcow2Image.readBitmaps(file, header, BitmapMemory(limit: Self.bitmapBytes), withData: true)
        } catch {
            switch error.cause {
            case nil: bitmapDamage("ERROR \(error.message)")
            // Too much for the memory that bitmaps may take is no damage.
            case .limit: break
            default:
                try unreadable("ERROR: I/O error in the bitmap directory")
                return false
            }
        }
        return true
    }

    /// Damage that costs the bitmaps, and nothing else.
    private func bitmapDamage(_ message: @autoclosure () -> String) {
        damage.bitmaps = true
        corruption(message())
    }

    private static func number(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        bytes[offset..<offset + 8].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
