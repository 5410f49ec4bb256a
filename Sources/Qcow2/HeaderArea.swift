import Block
import Bytes

/// Where things lie in the header's cluster: the extensions, the bitmaps' among them, their end, and what limits them.
struct HeaderArea {
    /// Bytes of an extension's head: type and length.
    static let headBytes = 8
    /// Bytes of the bitmaps extension with its head.
    static let bitmapBytes = headBytes + BitmapExtension.byteCount

    /// Where the bitmaps extension's head is; nil where there is none.
    private(set) var bitmaps: Int?
    /// Where the end mark is.
    private(set) var end: Int
    /// Where the backing file's name begins, or the cluster ends: no extension reaches further.
    let limit: Int
    /// Where the backing file's name lies; empty where there is none.
    let name: Range<Int>

    init(_ cluster: RawSpan) {
        let nameOffset = Int(clamping: cluster.bigEndian(UInt64.self, at: 8))
        let nameCount = nameOffset == 0 ? 0 : Int(cluster.bigEndian(UInt32.self, at: 16))
        limit = nameOffset == 0 ? cluster.byteCount : min(nameOffset, cluster.byteCount)
        name = limit..<min(limit + nameCount, cluster.byteCount)
        var offset = (Int(cluster.bigEndian(UInt32.self, at: 100)) + 7) & ~7
        while limit - offset >= Self.headBytes {
            let type = cluster.bigEndian(UInt32.self, at: offset)
            if type == 0 { break }
            if type == HeaderExtension.bitmapsType { bitmaps = bitmaps ?? offset }
            let length = Int(cluster.bigEndian(UInt32.self, at: offset + 4))
            guard length <= limit - offset - Self.headBytes else { break }
            offset += Self.headBytes + (length + 7) & ~7
        }
        end = min(offset, limit)
    }

    /// Where an extension of bitmaps and the end mark behind it may go, and the backing file's name, which makes room for
    /// them where it must. Nil where the cluster is too small.
    func room(clusterSize: Int) -> (end: Int, name: Int)? {
        let needed = end + Self.bitmapBytes + Self.headBytes
        if needed <= limit { return (end, name.lowerBound) }
        guard !name.isEmpty else { return nil }
        // Behind the old one, which is good until the header names the new one.
        let moved = (max(needed, name.upperBound) + 7) & ~7
        return moved + name.count <= clusterSize ? (end, moved) : nil
    }
}

extension Qcow2Image {
    /// Names another directory of bitmaps in the header, or none, durably.
    ///
    /// Where the extension is there already and lies in one sector, one write switches from the old directory to the new one.
    /// Elsewhere the autoclear bit goes first and comes last: in between the image has no bitmaps, and leaks the clusters of
    /// those that it had. An extension is made from its end: what is read without it ends at the same place as before until
    /// its type is there.
    func nameDirectory(_ new: BitmapExtension?) async throws(BlockError) {
        let cluster = try await readCluster(at: 0)
        let area = HeaderArea(cluster.bytes)
        if let new, let place = area.bitmaps, diskHeader.autoclear.contains(.bitmaps),
            Self.sectors(place + HeaderArea.headBytes, BitmapExtension.byteCount) == 1
        {
            try await writeHeader(new.data, at: place + HeaderArea.headBytes)
            return diskHeader.setBitmapExtension(new)
        }
        if diskHeader.autoclear.contains(.bitmaps) { try await writeHeaderFields { $0.autoclear.remove(.bitmaps) } }
        switch (area.bitmaps, new) {
        case (let place?, let new?):
            try await writeHeader(new.data, at: place + HeaderArea.headBytes)
        case (nil, let new?):
            try await addExtension(new, area, cluster.bytes.extracting(area.name).array)
        case (let place?, nil):
            // One in the middle stays, without a meaning: those behind it are not moved.
            guard place + HeaderArea.bitmapBytes == area.end else { return }
            try await writeHeader([UInt8](repeating: 0, count: HeaderArea.headBytes), at: place)
        case (nil, nil): break
        }
        diskHeader.setBitmapExtension(new)
        if new != nil { try await writeHeaderFields { $0.autoclear.insert(.bitmaps) } }
    }

    private func addExtension(_ new: BitmapExtension, _ area: HeaderArea, _ name: [UInt8]) async throws(BlockError) {
        guard let room = area.room(clusterSize: Int(geometry.clusterSize)) else { throw .noSpace }
        if !name.isEmpty, room.name != area.name.lowerBound {
            try await writeHeader(name, at: room.name)
            try await writeHeader(Self.bigEndian(UInt64(room.name)), at: 8)
        }
        let head = Self.bigEndian(UInt64(HeaderExtension.bitmapsType) << 32 | UInt64(BitmapExtension.byteCount))
        let rest = new.data + [UInt8](repeating: 0, count: HeaderArea.headBytes)
        if Self.sectors(room.end, head.count + rest.count) == 1 {
            return try await writeHeader(head + rest, at: room.end)
        }
        try await writeHeader(rest, at: room.end + head.count)
        try await writeHeader(head, at: room.end)
    }

    /// Writes bytes of the header's cluster, durably: sector by sector, the first one last (O11).
    private func writeHeader(_ bytes: [UInt8], at offset: Int) async throws(BlockError) {
        await headerWrites.lock()
        defer { headerWrites.unlock() }
        var end = bytes.count
        while end > 0 {
            let start = max(0, (offset + end - 1) / 512 * 512 - offset)
            let buffer = AlignedBuffer(copying: Array(bytes[start..<end]))
            try await file.write(at: UInt64(offset + start), from: buffer.bytes, flags: [])
            try await flushFile()
            end = start
        }
        for (index, byte) in bytes.enumerated() where offset + index < headerSector.count {
            headerSector[offset + index] = byte
        }
    }

    /// How many sectors of 512 bytes the bytes touch: one is written whole or not at all.
    private static func sectors(_ offset: Int, _ count: Int) -> Int { (offset + count - 1) / 512 - offset / 512 + 1 }

    private static func bigEndian(_ value: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 8)
        bytes.withMutableBytes { $0.storeBigEndian(value, at: 0) }
        return bytes
    }
}
