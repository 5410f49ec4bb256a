import Block
import Bytes

extension Qcow2Image {
    /// Puts another header into the file (O11). What counts of it stands in its first sector, which is one write, but a backing
    /// file's name where that does not fit: it lies where the old header has nothing, durable before the sector that points
    /// to it.
    ///
    /// The table of feature names, which is for people, may reach over the sector's end. Then a header without it comes
    /// first, with the name behind all that the whole one needs, so that the rest of that one can be written beneath it. Only
    /// where a cluster is too small for both is the table left out, and only where extensions that nobody here knows fill
    /// more than a sector their rest is written over, first.
    func replaceHeader(with new: Header) async throws(BlockError) {
        await headerWrites.lock()
        defer { headerWrites.unlock() }
        let cluster = try await readCluster(at: 0)
        let old = cluster.bytes.array
        var plain = new
        plain.extensions.removeAll { $0.type == HeaderExtension.featureNamesType }
        guard plain != new, let whole = try? new.encode() else {
            return try await put(plain, try plain.compactOrWhole(besides: old, diskHeader), besides: old)
        }
        let used = new.usedBytes(whole)
        if used <= 512 { return try await put(new, Array(whole.prefix(512)) + old.dropFirst(512), besides: old) }
        guard let between = plain.compact(besides: old, diskHeader, from: used) else {
            return try await put(plain, try plain.compactOrWhole(besides: old, diskHeader), besides: old)
        }
        try await put(plain, between, besides: old)
        // All that counts is in force. Where there is no room for the table of names, the image has none.
        do { try await put(new, Array(whole.prefix(used)) + between.dropFirst(used), besides: between) } catch {
            guard error == .noSpace, !isFenced else { throw error }
        }
    }

    /// Writes a header cluster over one that is there: its first sector last.
    private func put(_ new: Header, _ bytes: [UInt8], besides old: [UInt8]) async throws(BlockError) {
        if bytes.count > 512, bytes[512...] != old[512...] {
            let rest = AlignedBuffer(copying: Array(bytes[512...]))
            do throws(BlockError) { try await file.write(at: 512, from: rest.bytes, flags: []) } catch {
                // What the header's cluster holds now is not known.
                if error != .noSpace { fence(error) }
                throw error
            }
            try await flushFile()
        }
        let sector = AlignedBuffer(copying: Array(bytes[..<512]))
        do throws(BlockError) {
            try await file.write(at: 0, from: sector.bytes, flags: [])
            try await flushFile()
        } catch {
            fence(error)
            throw error
        }
        headerSector = Array(bytes[..<512])
        (header, diskHeader) = (new, new)
    }
}

extension Header {
    fileprivate func compactOrWhole(besides old: [UInt8], _ oldHeader: Header) throws(BlockError) -> [UInt8] {
        if let bytes = compact(besides: old, oldHeader) { return bytes }
        do throws(OpenError) { return try encode() } catch { throw error.cause ?? .noSpace }
    }

    /// The header cluster's bytes with all that the header says in its first sector but, where it must, the name, which lies
    /// at `low` or behind it where another header has nothing. Beyond that they are the other's. Nil where that cannot be.
    fileprivate func compact(besides old: [UInt8], _ oldHeader: Header, from low: Int = 512) -> [UInt8]? {
        guard let bytes = try? encode() else { return nil }
        let used = usedBytes(bytes)
        if used <= 512 { return Array(bytes.prefix(512)) + old.dropFirst(512) }
        guard let name = backingFileName, used - name.count <= 512 else { return nil }
        let place = oldHeader.freePlace(name.count, old, from: low)
        guard place + name.count <= bytes.count else { return nil }
        var moved = Array(bytes.prefix(used - name.count))
        moved += repeatElement(0, count: 512 - moved.count) + old.dropFirst(512)
        moved.replaceSubrange(place..<place + name.count, with: name)
        for byte in 0..<8 { moved[8 + byte] = UInt8(truncatingIfNeeded: place >> (8 * (7 - byte))) }
        return moved
    }

    /// Where a name may go behind the first sector without touching what the header has there: before its own name where
    /// that leaves room, else behind it.
    private func freePlace(_ count: Int, _ bytes: [UInt8], from low: Int) -> Int {
        let first = max(512, low, extensionsEnd)
        guard let backingFileName else { return first }
        let name = nameOffset(bytes)
        return name + backingFileName.count <= first || first + count <= name ? first : name + backingFileName.count
    }

    /// Where the last byte of what a header cluster says is: its name's, where it has one, else its extensions' end mark's.
    fileprivate func usedBytes(_ bytes: [UInt8]) -> Int {
        backingFileName.map { nameOffset(bytes) + $0.count } ?? extensionsEnd
    }

    private func nameOffset(_ bytes: [UInt8]) -> Int { (0..<8).reduce(0) { $0 << 8 | Int(bytes[8 + $1]) } }

    private var extensionsEnd: Int {
        Int(encodedLength) + extensions.reduce(8) { $0 + 8 + ($1.data.count + 7) & ~7 }
    }
}
