import Block
import Bytes

extension Qcow2Image {
    /// Reports damage, once; fatal damage of a writable image ends its writes and asks for the corrupt bit.
    func reportCorruption(_ message: String, offset: UInt64? = nil, size: UInt64? = nil, isFatal: Bool = true) {
        let fatal = isFatal && !isReadOnly
        if hasReportedCorruption, !fatal || isCorrupt { return }
        hasReportedCorruption = true
        if fatal {
            isCorrupt = true
            needsCorruptMark = true
        }
        observer.onCorruption(CorruptionReport(message: message, offset: offset, size: size, isFatal: fatal))
    }

    /// Sets the corrupt bit in the file, durably, where that is due. Version 2 has no such bit.
    func markCorrupt() async throws(BlockError) {
        guard needsCorruptMark, !isFenced else { return }
        needsCorruptMark = false
        guard header.version >= 3 else { return }
        header.incompatible.insert(.corrupt)
        do throws(BlockError) {
            try await writeHeaderFields { $0.incompatible.insert(.corrupt) }
        } catch {
            fence(error)
            throw error
        }
    }

    /// Changes fields of the header in the file, in one sector, and flushes. One change at a time: damage is found, and
    /// marked, while others hold `structure` and write fields of their own.
    func writeHeaderFields(_ change: (inout Header) -> Void) async throws(BlockError) {
        await headerWrites.lock()
        defer { headerWrites.unlock() }
        var onDisk = diskHeader
        change(&onDisk)
        var sector = headerSector
        let nameOffset = Int(sector.byteSpan.bigEndian(UInt64.self, at: 8))
        let length = sector.byteSpan.bigEndian(UInt32.self, at: 100)
        let compression = sector[104]
        sector.withMutableBytes { (span: inout MutableRawSpan) in
            onDisk.encodeFixedFields(into: &span, nameOffset: nameOffset)
            // These two never change, and a short version 3 header must not be made to look longer than it is.
            if onDisk.version >= 3 {
                span.storeBigEndian(length, at: 100)
                span.storeBigEndian(compression, at: 104)
            }
        }
        let buffer = AlignedBuffer(copying: sector)
        do throws(BlockError) {
            try await file.write(at: 0, from: buffer.bytes, flags: [])
            try await flushFile()
        } catch {
            // The file has one size or the other; until one is written again, nothing that either shows may go.
            diskHeader.size = max(diskHeader.size, onDisk.size)
            throw error
        }
        headerSector = sector
        diskHeader = onDisk
    }

    /// Reports the entry that makes `guest` unreadable.
    func reportEntry(at guest: UInt64) {
        let index = tableIndex(guest)
        guard index < l1.count else { return }
        let l1Entry = l1[index]
        guard let table = l2.find(index) else {
            let offset = l1Entry & L2Entry.offsetMask
            guard l1Entry & rules.l1MustBeZero != 0 || offset >= rules.hostEnd else { return }
            return reportCorruption(
                offset & geometry.clusterMask != 0
                    ? "L2 table offset \(hex(offset)) unaligned (L1 index: \(hex(UInt64(index))))"
                    : "L1 entry \(hex(l1Entry)) has reserved bits set or is out of range (L1 index: \(hex(UInt64(index))))",
                offset: header.l1TableOffset + UInt64(index) * 8, size: 8)
        }
        let position = entryIndex(guest)
        let entry = table[position]
        let start = guest & ~(geometry.subclusterSize - 1)
        let mapping = rules.read(entry, subclusterIndex(guest))
        if case .data(let offset) = mapping, isMisplaced(offset, start) {
            return reportCorruption(
                "External data file host cluster offset \(hex(offset)) does not match guest cluster offset: "
                    + "\(hex(start)), L2 index: \(hex(UInt64(position))))",
                offset: table.offset(of: position), size: UInt64(geometry.l2EntrySize))
        }
        guard mapping == .invalid else { return }
        let place = "(L2 offset: \(hex(table.offset)), L2 index: \(hex(UInt64(position))))"
        let descriptor = entry.descriptor
        let offset = descriptor & L2Entry.offsetMask
        let message =
            if entry.isCompressed {
                rules.hasDataFile
                    ? "Compressed cluster entry found in image with external data file \(place)"
                    : entry.bitmap == 0
                        ? "Compressed cluster descriptor \(hex(descriptor)) out of range \(place)"
                        : "Compressed cluster with subclusters \(hex(entry.bitmap)) \(place)"
            } else if descriptor & L2Entry.zeroFlag != 0 && header.version < 3 {
                "Zero cluster entry found in pre-v3 image \(place)"
            } else if offset & geometry.clusterMask != 0 {
                "Cluster allocation offset \(hex(offset)) unaligned \(place)"
            } else if descriptor & rules.standardMustBeZero == 0, offset < rules.hostEnd {
                "Invalid cluster entry found  \(place)"
            } else {
                "L2 entry \(hex(descriptor)) has reserved bits set or is out of range \(place)"
            }
        reportCorruption(message, offset: table.offset(of: position), size: UInt64(geometry.l2EntrySize))
    }

    /// Reports that a write to this host cluster would have damaged metadata.
    func reportOverlap(_ cluster: UInt64) {
        let offset = cluster << UInt64(geometry.clusterBits)
        reportCorruption(
            "Preventing invalid write on metadata (overlaps with \(metadataName(cluster)))", offset: offset,
            size: geometry.clusterSize)
    }
}

/// A number as C's `%#x` shows it.
func hex(_ value: UInt64) -> String { value == 0 ? "0" : "0x" + String(value, radix: 16) }

extension AlignedBuffer {
    /// A copy of `bytes`.
    init(copying bytes: [UInt8]) {
        self.init(byteCount: bytes.count)
        var span = mutableBytes
        span.copy(bytes.byteSpan)
    }
}
