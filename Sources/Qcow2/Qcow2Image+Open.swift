public import Block
import Bytes
public import DirtyMap

extension Qcow2Image {
    /// Opens the image in `file`. Where its header says that guest data lies apart, `data` is asked for what holds it.
    /// Nothing is written where `options.isReadOnly`; a writable open repairs a dirty image and clears the autoclear features
    /// that this program does not keep up to date, and marks the image's bitmaps as in use. A repair keeps to `pace`; the
    /// bits of bitmaps are charged to `memory`.
    public static func open(
        file: any Storage, options: Options, observer: Observer = Observer(), pace: Pace = .none,
        memory: BitmapMemory = BitmapMemory(),
        data: (Header) async throws(OpenError) -> (any Storage)? = { (_) async throws(OpenError) in nil }
    ) async throws(OpenError) -> Qcow2Image {
        let image = try await load(file: file, options: options, observer: observer, memory, data)
        guard !options.isReadOnly else { return image }
        if image.header.incompatible.contains(.corrupt) {
            throw OpenError("qcow2: Image is corrupt; cannot be opened read/write")
        }
        guard image.header.incompatible.contains(.dirty) else {
            try await image.prepareForWriting()
            return image
        }
        // Repairing changes tables anywhere: what was read before is read again.
        try await repairDirtyImage(file: file, header: image.header, pace: pace)
        let repaired = try await load(file: file, options: options, observer: observer, memory) {
            (_) async throws(OpenError) in image.data
        }
        guard !repaired.header.incompatible.contains(.dirty) else {
            throw OpenError("Could not repair dirty image")
        }
        try await repaired.prepareForWriting()
        return repaired
    }

    /// Reads what every open needs; the image that it answers is read-only.
    private static func load(
        file: any Storage, options: Options, observer: Observer, _ memory: BitmapMemory,
        _ data: (Header) async throws(OpenError) -> (any Storage)?
    ) async throws(OpenError) -> Qcow2Image {
        let (header, sector) = try await readHeader(file)
        if let refusal = header.unsupported { throw refusal }
        let data = header.hasDataFile ? try await data(header) : nil
        if header.hasDataFile, data == nil { throw OpenError("'data-file' is required for this image") }
        _ = try options.cacheSizes(size: header.size, geometry: header.geometry)
        var l1 = try await readTable(
            "L1 table", file, at: header.l1TableOffset, count: Int(header.l1Size))
        // An entry that names no table has no flag either: as a check sees it, there is nothing here.
        for index in l1.indices where l1[index] == L2Entry.copied { l1[index] = 0 }
        var (snapshots, bitmaps) = (
            ([] as [Snapshot], 0 as UInt64), ([] as [StoredBitmap], NodeBitmaps(memory: memory))
        )
        if !options.isStream {
            var reader = SnapshotTableReader(file: file, header: header)
            reader.keepsEntries = options.loadsBitmaps
            snapshots = try await reader.read()
            bitmaps = try await readBitmaps(file, header, memory, withData: options.loadsBitmaps)
        }
        return try Qcow2Image(
            header: header, headerSector: sector, file: file, data: data, options: options, observer: observer, l1: l1,
            snapshots: snapshots, bitmaps: bitmaps)
    }

    /// Reads and checks the header cluster: one read, or two where clusters are larger than 64 KiB. Answers the first 512
    /// bytes too.
    public static func readHeader(_ file: any Storage) async throws(OpenError) -> (header: Header, sector: [UInt8]) {
        var buffer = AlignedBuffer(byteCount: Int(min(file.length, 64 << 10)))
        do {
            var span = buffer.mutableBytes
            if span.byteCount > 0 { try await file.read(at: 0, into: &span) }
            if let cluster = Header.clusterSize(claimedBy: buffer.bytes), cluster > 64 << 10, file.length > 64 << 10 {
                buffer = AlignedBuffer(byteCount: Int(min(file.length, cluster)))
                span = buffer.mutableBytes
                try await file.read(at: 0, into: &span)
            }
        } catch { throw OpenError("Could not read qcow2 header", cause: error) }
        let header = try Header.decode(buffer.bytes)
        var sector = buffer.bytes.extracting(0..<min(512, buffer.byteCount)).array
        sector.append(contentsOf: repeatElement(0, count: 512 - sector.count))
        return (header, sector)
    }

    /// Reads a table of 64-bit entries, in pieces, so that at most the table itself and a piece are in memory.
    static func readTable(_ name: String, _ file: any Storage, at offset: UInt64, count: Int)
        async throws(OpenError) -> [UInt64]
    {
        let bytes = UInt64(count) * 8
        guard file.length >= bytes, offset <= file.length - bytes else {
            throw OpenError(
                "Could not read \(name): \(bytes) bytes at \(hex(offset)) end past the end of the file "
                    + "(\(file.length) bytes)")
        }
        var entries: [UInt64] = []
        entries.reserveCapacity(count)
        var buffer = AlignedBuffer(byteCount: Int(min(bytes, 256 << 10)))
        var done: UInt64 = 0
        while done < bytes {
            let length = Int(min(bytes - done, UInt64(buffer.byteCount)))
            if length < buffer.byteCount { buffer = AlignedBuffer(byteCount: length) }
            do {
                var span = buffer.mutableBytes
                try await file.read(at: offset + done, into: &span)
            } catch { throw OpenError("Could not read \(name)", cause: error) }
            let piece = buffer.bytes
            for index in 0..<length / 8 { entries.append(piece.bigEndian(at: index * 8)) }
            done += UInt64(length)
        }
        return entries
    }

    /// Makes the image writable: reads the refcount table, notes all metadata for the overlap checks, clears autoclear
    /// features that are not kept, marks bitmaps as in use.
    func prepareForWriting() async throws(OpenError) {
        let count = Int(header.refcountTableClusters) << Int(geometry.clusterBits - 3)
        await file.reach(.reftableLoad)
        refcountTable = try await Self.readTable(
            "refcount table", file, at: header.refcountTableOffset, count: count)
        try noteMetadata()
        let end = file.length.addingReportingOverflow(geometry.clusterMask)
        highWater = max(highWater, end.overflow ? .max : end.partialValue & ~geometry.clusterMask)
        var kept = header.keptAutoclear
        if storedExtension == nil { kept.remove(.bitmaps) }
        if !header.autoclear.isSubset(of: kept) {
            // What is not kept is stale from the first write on: the bit must go before it.
            do throws(BlockError) {
                try await writeHeaderFields { $0.autoclear.formIntersection(kept) }
            } catch {
                throw OpenError("Could not update qcow2 header", cause: error)
            }
            header.autoclear.formIntersection(kept)
        }
        do throws(BlockError) { try await markBitmapsInUse() } catch {
            throw OpenError("Could not mark bitmaps as in use", cause: error)
        }
        isReadOnly = false
        bitmaps.setReadOnly(false)
    }

    /// Changes between read-only and writable; changes are written back first.
    public func setReadOnly(_ readOnly: Bool) async throws(OpenError) {
        guard readOnly != isReadOnly else { return }
        if readOnly {
            do throws(BlockError) {
                try await drain()
                try await storeBitmaps()
                try await drain()
            } catch {
                throw OpenError("Could not write back qcow2 metadata", cause: error)
            }
            isReadOnly = true
            bitmaps.setReadOnly(true)
            return
        }
        if header.incompatible.contains(.corrupt) {
            throw OpenError("qcow2: Image is corrupt; cannot be opened read/write")
        }
        if header.incompatible.contains(.dirty) {
            throw OpenError("qcow2: Image is dirty; it is repaired when it is opened read/write")
        }
        if isFenced { throw OpenError("qcow2: an earlier write to the image failed; open it again", cause: .fenced) }
        try await prepareForWriting()
    }
}
