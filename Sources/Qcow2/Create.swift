public import Block
import Bytes

/// Makes new qcow2 images.
///
/// The sector with the header is written last, after a flush of all the rest: until then there is no image at all, and
/// a crash leaves none that is half made (O7, O11).
public struct Qcow2Create {
    private let file: any Storage
    /// What holds the guest's data, and which bytes of it are the disk's or its clusters'.
    private let data: (storage: any Storage, range: ByteRange)
    private let options: CreateOptions
    private let layout: CreateLayout
    private let pace: Pace

    /// Tables are written in pieces of at most this many bytes.
    private static let piece: UInt64 = 1 << 20

    /// Makes an image on `file`, whose contents are lost; those of `data` too, where the options name a file for data.
    /// Both take requests of any alignment (a walker does). Room that is written in advance keeps to `pace`; where that
    /// ends the work, no image has come about.
    public static func create(
        on file: any Storage, data: (any Storage)? = nil, _ options: CreateOptions, pace: Pace = .none
    )
        async throws(OpenError)
    {
        try options.validate()
        if options.dataFile != nil, data == nil { throw OpenError("'data-file' is required for this image") }
        let layout = try CreateLayout(options)
        let header = try options.headerCluster(layout)
        let place = data.map { ($0, ByteRange(at: 0, count: options.size)) } ?? (file, layout.data)
        let creation = Qcow2Create(file: file, data: place, options: options, layout: layout, pace: pace)
        do throws(BlockError) {
            try await creation.write(header)
        } catch {
            throw OpenError("Could not create qcow2 image: \(error.sentence)", cause: error)
        }
    }

    private func write(_ header: [UInt8]) async throws(BlockError) {
        try await makeRoom()
        if options.dataFile != nil { try await makeRoomForData() }
        try await writeRefcountTable()
        try await writeRefcountBlocks()
        if options.mapsAll {
            try await writeEntries(at: layout.l1Offset, count: layout.l1Entries, first: layout.firstL2Offset)
            // The bitmaps of extended entries stay empty: the places are reserved, and the backing file shows through. A raw
            // file for data is all of it data.
            try await writeEntries(
                at: layout.firstL2Offset, count: layout.mappedClusters,
                first: options.dataFile == nil ? layout.dataOffset : 0, words: layout.l2EntrySize / 8,
                bitmap: options.dataFileRaw ? UInt64(UInt32.max) : 0)
            try await data.storage.occupy(data.range, options.preallocation, pace: pace)
        }
        let whole = buffer(header)
        if options.dataFile != nil { try await data.storage.flush() }
        try await file.write(at: 512, from: whole.bytes.extracting(512..<header.count), flags: [])
        try await file.flush()
        try await file.write(at: 0, from: whole.bytes.extracting(0..<512), flags: [])
        try await file.flush()
    }

    /// Empties the file and gives it the length of the image; a device is only cleared where metadata will lie.
    private func makeRoom() async throws(BlockError) {
        if file.limits.growable {
            // An empty file is left alone: ext4 writes back at once, when it is closed, whatever came behind a truncation.
            if file.length > 0 { try await file.resize(to: 0) }
            return try await file.resize(to: layout.fileEnd)
        }
        guard layout.data.end <= file.length else { throw .noSpace }
        let sector = AlignedBuffer(byteCount: 512)
        try await file.write(at: 0, from: sector.bytes, flags: .fua)
        try await file.zero(layout.metadata, flags: [])
    }

    /// Empties the file for data and gives it the length of the disk; a device must have it, and is zeroed where it shall
    /// read as the disk.
    private func makeRoomForData() async throws(BlockError) {
        if data.storage.limits.growable {
            if data.storage.length > 0 { try await data.storage.resize(to: 0) }
            return try await data.storage.resize(to: options.size)
        }
        guard options.size <= data.storage.length else { throw .noSpace }
        if options.mapsAll { try await data.storage.zero(data.range, flags: .mayUnmap) }
    }

    private func writeRefcountTable() async throws(BlockError) {
        try await writeTable(at: layout.refcountTableOffset, count: layout.refcountBlocks) { index in
            layout.firstBlockOffset + index * layout.clusterSize
        }
    }

    /// L1 or L2 entries that name consecutive clusters used once; of `words` numbers each, the second of which is `bitmap`.
    private func writeEntries(at offset: UInt64, count: UInt64, first: UInt64, words: UInt64 = 1, bitmap: UInt64 = 0)
        async throws(BlockError)
    {
        try await writeTable(at: offset, count: count * words) { index in
            index % words == 0 ? 1 << 63 | (first + index / words * layout.clusterSize) : bitmap
        }
    }

    private func writeTable(at offset: UInt64, count: UInt64, _ entry: (UInt64) -> UInt64) async throws(BlockError) {
        var next: UInt64 = 0
        while next < count {
            let entries = min(count - next, Self.piece / 8)
            var table = AlignedBuffer(byteCount: Int(entries) * 8)
            var span = table.mutableBytes
            for index in 0..<entries { span.storeBigEndian(entry(next + index), at: Int(index) * 8) }
            try await file.write(at: offset + next * 8, from: table.bytes, flags: [])
            next += entries
        }
    }

    /// Every cluster of the image is used once.
    private func writeRefcountBlocks() async throws(BlockError) {
        let bits = UInt64(options.refcountBits)
        let total = layout.totalClusters
        let byteCount = (total * bits).dividedRoundingUp(by: 8)
        var offset: UInt64 = 0
        while offset < byteCount {
            let count = min(Self.piece, byteCount - offset)
            let block = options.refcountPiece(at: offset, count: count, clusters: total)
            try await file.write(at: layout.firstBlockOffset + offset, from: block.bytes, flags: [])
            offset += count
        }
    }

    private func buffer(_ bytes: [UInt8]) -> AlignedBuffer {
        var bytes = bytes
        var buffer = AlignedBuffer(byteCount: bytes.count)
        var span = buffer.mutableBytes
        bytes.withMutableBytes { source in span.copy(source.bytes) }
        return buffer
    }
}

extension CreateOptions {
    /// Bytes of the refcount blocks of an image that uses each of its clusters once, from an offset in them on. Both numbers
    /// are multiples of 8.
    func refcountPiece(at offset: UInt64, count: UInt64, clusters: UInt64) -> AlignedBuffer {
        let bits = UInt64(refcountBits)
        var block = AlignedBuffer(byteCount: Int(count))
        var span = block.mutableBytes
        let first = offset * 8 / bits
        guard first < clusters else { return block }
        for index in first..<min(clusters, first + count * 8 / bits) {
            // Big-endian from a byte on; within a byte, from the least significant bit up.
            let bit = (index - first) * bits
            let byte = Int(bit / 8) + max(refcountBits / 8 - 1, 0)
            let old = span.bytes.byte(at: byte)
            span.storeBytes(of: old | 1 << UInt8(bit % 8), toByteOffset: byte, as: UInt8.self)
        }
        return block
    }
}

extension Qcow2Image {
    /// Makes a new image on `file`, whose contents are lost; see `Qcow2Create`.
    public static func create(on file: any Storage, _ options: CreateOptions) async throws(OpenError) {
        try await Qcow2Create.create(on: file, options)
    }
}
