public import Block
import Bytes

/// A new image that is written front to back, to a pipe: laid out from what is known of the disk, all metadata before the
/// first byte of data. Clusters of data follow in the order of the disk, each whole.
public struct StreamedImage {
    private let options: CreateOptions
    private let marks: ClusterMarks
    private let layout: CreateLayout
    private let header: [UInt8]

    /// Metadata comes in pieces of at most this many bytes.
    private static let piece = 1 << 20

    /// `marks` tells which clusters hold data.
    public init(_ options: CreateOptions, _ marks: ClusterMarks) throws(OpenError) {
        try options.validate()
        guard options.dataFile == nil, options.preallocation == .off else {
            throw OpenError("An image that is written to a pipe has its data in itself, and nothing preallocated")
        }
        self.options = options
        self.marks = marks
        let entries = options.clusterSize / (options.extendedL2 ? 16 : 8)
        var tables: UInt64 = 0
        var next = marks.next(from: 0)
        while let cluster = next {
            tables += 1
            next = marks.next(from: (cluster / entries + 1) * entries)
        }
        layout = try CreateLayout(options, mapped: (tables, marks.count))
        header = try options.headerCluster(layout)
    }

    /// Bytes of the whole image.
    public var byteCount: UInt64 { layout.totalClusters * layout.clusterSize }

    /// Sends all that precedes the data.
    public func sendMetadata(_ send: (RawSpan) async throws(BlockError) -> Void) async throws(BlockError) {
        var first = AlignedBuffer(byteCount: Int(layout.clusterSize))
        var span = first.mutableBytes
        span.copy(header.byteSpan)
        try await send(first.bytes)
        try await sendNumbers(layout.refcountTableClusters, send) {
            $0 < layout.refcountBlocks ? layout.firstBlockOffset + $0 * layout.clusterSize : 0
        }
        try await sendRefcountBlocks(send)
        let entries = layout.clusterSize / layout.l2EntrySize
        var nextTable = layout.firstL2Offset
        try await sendNumbers(layout.l1Clusters, send) { index in
            guard index < layout.l1Entries, marks.containsAny(of: index * entries..<(index + 1) * entries) else {
                return 0
            }
            defer { nextTable += layout.clusterSize }
            return L2Entry.copied | nextTable
        }
        var place = layout.dataOffset
        var next = marks.next(from: 0)
        while let cluster = next {
            let start = cluster / entries * entries
            try await sendTable(from: start, &place, send)
            next = marks.next(from: start + entries)
        }
    }

    /// One L2 table: its marked clusters follow one another in the file. Of extended entries all subclusters are data.
    private func sendTable(
        from start: UInt64, _ place: inout UInt64, _ send: (RawSpan) async throws(BlockError) -> Void
    ) async throws(BlockError) {
        let words = layout.l2EntrySize / 8
        var table = AlignedBuffer(byteCount: Int(layout.clusterSize))
        var span = table.mutableBytes
        for entry in 0..<layout.clusterSize / layout.l2EntrySize where marks.contains(start + entry) {
            let position = Int(entry * layout.l2EntrySize)
            span.storeBigEndian(L2Entry.copied | place, at: position)
            if words == 2 { span.storeBigEndian(UInt64(UInt32.max), at: position + 8) }
            place += layout.clusterSize
        }
        try await send(table.bytes)
    }

    /// Clusters of 64-bit numbers.
    private func sendNumbers(
        _ clusters: UInt64, _ send: (RawSpan) async throws(BlockError) -> Void, _ number: (UInt64) -> UInt64
    ) async throws(BlockError) {
        let total = clusters * layout.clusterSize / 8
        var next: UInt64 = 0
        while next < total {
            let count = min(total - next, UInt64(Self.piece / 8))
            var buffer = AlignedBuffer(byteCount: Int(count) * 8)
            var span = buffer.mutableBytes
            for index in 0..<count { span.storeBigEndian(number(next + index), at: Int(index) * 8) }
            try await send(buffer.bytes)
            next += count
        }
    }

    /// Every cluster of the image is used once.
    private func sendRefcountBlocks(_ send: (RawSpan) async throws(BlockError) -> Void) async throws(BlockError) {
        let total = layout.refcountBlocks * layout.clusterSize
        var offset: UInt64 = 0
        while offset < total {
            let count = min(UInt64(Self.piece), total - offset)
            let block = options.refcountPiece(at: offset, count: count, clusters: layout.totalClusters)
            try await send(block.bytes)
            offset += count
        }
    }
}
