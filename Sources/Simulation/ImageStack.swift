import Block
public import BlockTestKit
import Bytes
import Qcow2

/// A random chain of closed images, each with something in it, and an image beside the chain.
public struct ImageStack: Sendable, CustomStringConvertible {
    /// Every file, by its name.
    public private(set) var files: [String: SparseBytes] = [:]
    /// The chain's images from the bottom; the last one is the top.
    public private(set) var layers: [Layer] = []
    /// An image that stands on nothing, and that nothing stands on.
    public private(set) var other: Layer

    public struct Layer: Sendable, CustomStringConvertible {
        public let name: String
        public let isRaw: Bool
        public let kind: String
        /// What a disk reads as that stands on it and has its size.
        public let contents: [UInt8]

        public var format: String { isRaw ? "raw" : "qcow2" }
        public var description: String { "\(name): \(kind), \(contents.count) bytes" }
    }

    public var top: Layer { layers[layers.count - 1] }
    public var description: String { (layers + [other]).map(\.description).joined(separator: "\n") }

    public init(seed: UInt64) throws(Violation) {
        var maker = Maker(seed: seed)
        let count = 2 + maker.random.below(3)
        do {
            for index in 0..<count { layers.append(try maker.layer("\(index)", over: layers.last)) }
            other = try maker.layer("other", over: nil)
        } catch { throw Violation("the chain cannot be made: \(error)") }
        files = maker.files.disks.mapValues(\.contents)
    }

    /// Makes one image after the other.
    private struct Maker {
        var random: SeededRandom
        let context = SimulatedContext(seed: 1, order: .fifo)
        let files: SimulatedFiles
        /// Near this all disks end.
        let size: UInt64
        /// The walker of the image that was made last.
        var below: BlockIO?

        init(seed: UInt64) {
            random = SeededRandom(seed: seed ^ 0x57AC)
            files = SimulatedFiles(context, [:], SimDisk.Options(latencyNs: 1...1, discarded: .zeros))
            size = 4096 + random.below(200_000 as UInt64)
        }

        mutating func layer(_ name: String, over backing: Layer?) throws -> Layer {
            let length = max(512, (random.chance(50) ? size : random.below(size * 3 / 2)) & ~511)
            let isRaw = backing == nil && random.chance(40)
            let under = backing == nil ? nil : below
            var options = CreateOptions(size: length)
            options.clusterSize = random.pick([512, 1024, 4096, 4096, 16384, 65536])
            options.version = random.chance(20) ? .v2 : .v3
            options.extendedL2 = options.version == .v3 && options.clusterSize >= 16384 && random.chance(50)
            (options.backingFile, options.backingFormat) = (backing?.name, backing?.format)
            let strokes = (0..<2 + random.below(6)).map { _ in stroke(length) }
            let (files, context) = (files, context)
            let chosen = options
            let (io, contents) = try context.complete { () async throws -> (BlockIO, [UInt8]) in
                let storage = files.make(name)
                if isRaw {
                    try await storage.resize(to: length)
                } else {
                    try await Qcow2Create.create(on: storage, data: nil, chosen)
                }
                let (io, image) = try await Self.open(storage, isRaw, over: under, context)
                for stroke in strokes { try await stroke.draw(on: io) }
                let contents = try await io.bytes(at: 0, count: Int(length))
                try await io.finish()
                try await image?.close()
                io.retire()
                return (try await Self.open(storage, isRaw, over: under, context, readOnly: true).io, contents)
            }
            below = io
            let kind = isRaw ? "raw" : "v\(options.version.rawValue) \(options.clusterSize)"
            return Layer(
                name: name, isRaw: isRaw, kind: kind + (options.extendedL2 ? " extended" : ""), contents: contents)
        }

        private static func open(
            _ storage: any Storage, _ isRaw: Bool, over below: BlockIO?, _ context: SimulatedContext,
            readOnly: Bool = false
        ) async throws -> (io: BlockIO, image: Qcow2Image?) {
            let options = BlockIO.Options(isReadOnly: readOnly)
            if isRaw { return (BlockIO(context: context, driver: .storage(storage), options: options), nil) }
            let image = try await Qcow2Image.open(file: storage, options: Options(isReadOnly: readOnly))
            let io = BlockIO(
                context: context, driver: .format(image), file: storage, backing: below, options: options)
            return (io, image)
        }

        private mutating func stroke(_ length: UInt64) -> Stroke {
            let start = random.below(length)
            let count = min(1 + random.below(random.pick([1024, 8192, 70_000])), length - start)
            // Whole sectors more often than not, some of them zeros and some alike in several layers.
            let range =
                random.chance(70)
                ? ByteRange(from: start & ~511, to: min(length, (start + count + 511) & ~511))
                : ByteRange(at: start, count: count)
            switch random.below(10) {
            case 0..<5: return Stroke(range: range, bytes: random.bytes(Int(range.count)))
            case 5: return Stroke(range: range, bytes: [UInt8](repeating: 7, count: Int(range.count)))
            case 6: return Stroke(range: range, bytes: [UInt8](repeating: 0, count: Int(range.count)))
            default: return Stroke(range: range, bytes: nil)
            }
        }
    }

    /// Bytes to write, or nil to zero the range.
    private struct Stroke {
        let range: ByteRange
        let bytes: [UInt8]?

        func draw(on io: BlockIO) async throws(BlockError) {
            if let bytes { try await io.write(bytes, at: range.start) } else { try await io.zero(range, flags: []) }
        }
    }
}
