import Block
import Bytes

/// What a guest's disk is copied to.
protocol CopyTarget: AnyObject {
    /// Stores bytes of the disk.
    func store(_ bytes: RawSpan, at position: UInt64) async throws(BlockError)
    /// Makes a range of the disk read as zeros.
    func zero(_ range: ByteRange) async throws(BlockError)
    /// Leaves a range of the disk to what the target stands on.
    func leave(_ range: ByteRange) async throws(BlockError)
    /// The disk ends here: known only now where it came from a pipe.
    func end(at length: UInt64) async throws(BlockError)
}

extension CopyTarget {
    func leave(_ range: ByteRange) async throws(BlockError) {}
    func end(at length: UInt64) async throws(BlockError) {}
}

/// A disk in an image.
final class DiskTarget: CopyTarget {
    private let walker: BlockIO
    private let detection: ZeroDetection?
    private let isZeroed: Bool
    private let isCompressed: Bool
    /// From here on what the target stands on reads as zeros by itself.
    private let backingEnd: UInt64?
    /// Whether the disk grows as bytes come.
    private let grows: Bool

    /// `isZeroed`: the disk reads as zeros all over. `detection` nil: zeros are written like data.
    init(
        _ walker: BlockIO, detection: ZeroDetection?, isZeroed: Bool, isCompressed: Bool, backingEnd: UInt64? = nil,
        grows: Bool = false
    ) {
        self.walker = walker
        self.detection = detection
        self.isZeroed = isZeroed
        self.isCompressed = isCompressed
        self.backingEnd = backingEnd
        self.grows = grows
    }

    /// What a disk of unknown length has at first; it doubles whenever it is full.
    static let firstLength: UInt64 = 1 << 30

    func store(_ bytes: RawSpan, at position: UInt64) async throws(BlockError) {
        let flags: WriteFlags = isCompressed ? .compressed : []
        if grows { try await grow(to: position + UInt64(bytes.byteCount)) }
        guard let detection else { return try await walker.write(at: position, from: bytes, flags: flags) }
        var done = 0
        while done < bytes.byteCount {
            let rest = bytes.extracting(done..<bytes.byteCount)
            let (count, isZero) = detection.firstRun(of: rest, at: position + UInt64(done))
            let place = ByteRange(at: position + UInt64(done), count: UInt64(count))
            if isZero {
                try await zero(place)
            } else {
                try await walker.write(at: place.start, from: rest.extracting(0..<count), flags: flags)
            }
            done += count
        }
    }

    func zero(_ range: ByteRange) async throws(BlockError) {
        if isZeroed { return }
        let hidden = backingEnd.map { range.intersection(ByteRange(at: 0, count: $0)) } ?? range
        guard !hidden.isEmpty else { return }
        try await walker.zero(hidden, flags: detection == nil ? [] : .mayUnmap)
    }

    private func grow(to end: UInt64) async throws(BlockError) {
        guard end > walker.length else { return }
        var length = max(walker.length, Self.firstLength)
        while length < end {
            let doubled = length.multipliedReportingOverflow(by: 2)
            guard !doubled.overflow, doubled.partialValue <= UInt64(Int64.max) else { throw .system(27) }
            length = doubled.partialValue
        }
        try await walker.resize(to: length)
    }

    func end(at length: UInt64) async throws(BlockError) {
        guard grows, let whole = length.roundedUpToSector, whole != walker.length else { return }
        try await walker.resize(to: whole)
    }
}

/// A raw disk into a pipe.
final class PipeTarget: CopyTarget {
    private let pipe: any BytePipe

    init(_ pipe: any BytePipe) { self.pipe = pipe }

    func store(_ bytes: RawSpan, at position: UInt64) async throws(BlockError) { try await pipe.write(bytes) }

    func zero(_ range: ByteRange) async throws(BlockError) {
        let zeros = AlignedBuffer(byteCount: Int(min(range.count, 1 << 20)))
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(UInt64(zeros.byteCount))
            try await pipe.write(zeros.bytes.extracting(0..<Int(part.count)))
            rest = rest.dropping(part.count)
        }
    }
}

/// The data clusters of a new image into a pipe: whole clusters, and nothing where the disk reads as zeros.
final class ClusterPipeTarget: CopyTarget {
    private let pipe: any BytePipe
    private let clusterSize: UInt64

    init(_ pipe: any BytePipe, clusterSize: UInt64) {
        self.pipe = pipe
        self.clusterSize = clusterSize
    }

    func store(_ bytes: RawSpan, at position: UInt64) async throws(BlockError) {
        try await pipe.write(bytes)
        // The disk may end in the middle of its last cluster.
        let behind = (position + UInt64(bytes.byteCount)) % clusterSize
        guard behind != 0 else { return }
        let fill = AlignedBuffer(byteCount: Int(clusterSize - behind))
        try await pipe.write(fill.bytes)
    }

    func zero(_ range: ByteRange) async throws(BlockError) {}
}
