import Block
import Bytes
import Qcow2

/// A run of a guest's disk, and what is known of it before it is read.
struct CopyPart: Equatable {
    enum Kind { case data, zero, backing }

    var range: ByteRange
    /// `backing`: the image leaves it to what it stands on, and so will the target.
    var kind: Kind
}

/// What a guest's disk is copied from.
protocol CopySource: AnyObject {
    /// Bytes of the disk; nil where only its end tells.
    var length: UInt64? { get }
    /// Whether it is read front to back, one piece after the other.
    var isStream: Bool { get }
    /// The run at a position before the end, without reading it.
    func run(at position: UInt64) async throws(ImageError) -> CopyPart
    /// Fills the buffer; less only where the end of a disk of unknown length comes. Answers how many bytes came.
    func read(at position: UInt64, into buffer: inout MutableRawSpan) async throws(ImageError) -> Int
}

/// A raw disk from a pipe.
final class PipeSource: CopySource {
    private let pipe: any BytePipe

    init(_ pipe: any BytePipe) { self.pipe = pipe }

    var length: UInt64? { nil }
    var isStream: Bool { true }

    func run(at position: UInt64) async throws(ImageError) -> CopyPart {
        CopyPart(range: ByteRange(from: position, to: UInt64(Int64.max)), kind: .data)
    }

    func read(at position: UInt64, into buffer: inout MutableRawSpan) async throws(ImageError) -> Int {
        do { return try await pipe.read(into: &buffer) } catch {
            throw ImageError("error while reading at byte \(position): \(error.sentence)")
        }
    }
}

/// A disk whose clusters have been told before: what is marked is data, all else reads as zeros.
final class MarkedSource: CopySource {
    private let disk: any CopySource
    private let marks: ClusterMarks

    init(_ disk: any CopySource, _ marks: ClusterMarks) {
        self.disk = disk
        self.marks = marks
    }

    var length: UInt64? { disk.length }
    var isStream: Bool { disk.isStream }

    func run(at position: UInt64) async throws(ImageError) -> CopyPart {
        let (end, cluster) = (disk.length ?? 0, position / marks.clusterSize)
        var next = cluster + 1
        if marks.contains(cluster) {
            while marks.contains(next), next - cluster < Self.longestRun { next += 1 }
            return CopyPart(range: ByteRange(from: position, to: min(end, next * marks.clusterSize)), kind: .data)
        }
        let stop = marks.next(from: next).map { $0 * marks.clusterSize } ?? end
        return CopyPart(range: ByteRange(from: position, to: min(stop, end)), kind: .zero)
    }

    func read(at position: UInt64, into buffer: inout MutableRawSpan) async throws(ImageError) -> Int {
        try await disk.read(at: position, into: &buffer)
    }

    /// More clusters than a buffer holds need not be found at once.
    private static let longestRun: UInt64 = 1 << 12
}
