import Block
import Bytes

extension Qcow2Image {
    /// Puts another header into the file (O11). All that it says stands in its first sector, which is one write, but the backing
    /// file's name where that does not fit: it lies behind the old header's bytes, durable before the sector that points to it.
    /// The feature names are left out where they are too long. Only where extensions that nobody here knows fill more than a
    /// sector, their rest is written over, first.
    func replaceHeader(with new: Header) async throws(BlockError) {
        await headerWrites.lock()
        defer { headerWrites.unlock() }
        let cluster = try await readCluster(at: 0)
        let old = cluster.bytes.array
        let bytes: [UInt8]
        do throws(OpenError) { bytes = try new.encode(besides: old, diskHeader) } catch {
            throw error.cause ?? .noSpace
        }
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
    /// The header cluster's bytes, which keep those of another header beyond the first sector as long as that is good.
    fileprivate func encode(besides old: [UInt8], _ oldHeader: Header) throws(OpenError) -> [UInt8] {
        var header = self
        for namesFeatures in [true, false] {
            if !namesFeatures { header.extensions.removeAll { $0.type == HeaderExtension.featureNamesType } }
            guard let bytes = try? header.encode() else { continue }
            let used = header.usedBytes(bytes)
            if used <= 512 { return Array(bytes.prefix(512)) + old.dropFirst(512) }
            // The name further back: behind all that the old header has there.
            let end = max(512, oldHeader.usedBytes(old))
            guard let name = header.backingFileName, used - name.count <= 512, end + name.count <= bytes.count else {
                continue
            }
            var moved = Array(bytes.prefix(used - name.count))
            moved += repeatElement(0, count: 512 - moved.count) + old.dropFirst(512)
            moved.replaceSubrange(end..<end + name.count, with: name)
            for byte in 0..<8 { moved[8 + byte] = UInt8(truncatingIfNeeded: end >> (8 * (7 - byte))) }
            return moved
        }
        return try header.encode()
    }

    /// Where the last byte of what a header cluster says is: its name's, where it has one, else its extensions' end mark's.
    private func usedBytes(_ bytes: [UInt8]) -> Int {
        let name = (0..<8).reduce(0) { $0 << 8 | Int(bytes[8 + $1]) }
        if let backingFileName { return name + backingFileName.count }
        return Int(encodedLength) + extensions.reduce(8) { $0 + 8 + ($1.data.count + 7) & ~7 }
    }
}
