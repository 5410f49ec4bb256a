import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

@Suite struct CreateTests {
    struct Shape: Sendable, CustomTestStringConvertible {
        var options: CreateOptions
        var testDescription: String {
            "v\(options.version.rawValue) \(options.clusterSize)/\(options.refcountBits) \(options.preallocation) "
                + "\(options.size)"
        }
    }

    /// Every cluster size and refcount width, with every kind of preallocation and odd sizes.
    static let shapes: [Shape] = {
        var shapes: [Shape] = []
        for (index, bits) in (9...21).enumerated() {
            for (number, size) in [0, 512, 3 << 20, (5 << 20) + 512].enumerated() {
                var options = CreateOptions(size: UInt64(size))
                options.clusterSize = 1 << UInt64(bits)
                options.refcountBits = 1 << ((index + number) % 7)
                options.preallocation = CreateOptions.Preallocation.allCases[(index + number) % 4]
                if number == 0, index % 2 == 0 {
                    options.version = .v2
                    options.refcountBits = 16
                }
                shapes.append(Shape(options: options))
            }
        }
        return shapes
    }()

    /// A new image on an empty disk, made in the order that the rules ask for.
    private func create(_ options: CreateOptions) throws -> SparseBytes {
        let context = SimulatedContext()
        let disk = SimDisk(context)
        let audit = OrderAudit(disk)
        disk.audit = audit
        try context.complete { try await Qcow2Create.create(on: disk, options) }
        #expect(audit.metadataChanges > 0)
        return disk.durable
    }

    @Test("a new image is clean, and what it preallocates is mapped", arguments: shapes)
    func clean(shape: Shape) throws {
        let image = try create(shape.options)
        let check = MiniCheck(image)
        #expect(check.errors == [])
        #expect(check.leaks == 0)
        #expect(check.size == shape.options.size)
        let clusters = shape.options.size.dividedRoundingUp(by: shape.options.clusterSize)
        let isBare = shape.options.preallocation == .off && clusters > 0
        #expect(isBare || image.length % shape.options.clusterSize == 0)
        #expect(UInt64(check.mapped.count) == (shape.options.preallocation == .off ? 0 : clusters))
    }

    @Test(
        "a new image with nothing preallocated ends behind its last L1 entry, as one of qemu-img's",
        arguments: [
            (64 << 20, 196_616), (1 << 30, 196_624), (0, 196_608),
        ] as [(UInt64, UInt64)])
    func end(size: UInt64, length: UInt64) throws {
        let image = try create(CreateOptions(size: size))
        #expect(image.length == length)
        #expect(MiniCheck(image).isClean)
    }

    @Test("the header tells what was asked")
    func header() throws {
        var options = CreateOptions(size: 1 << 20)
        options.backingFile = "base.raw"
        options.backingFormat = "raw"
        options.lazyRefcounts = true
        options.compression = .zstd
        var image = try create(options).array
        let header = try image.withMutableBytes { (span) throws(OpenError) in try Header.decode(span.bytes) }
        #expect(header.backingFile == "base.raw")
        #expect(header.backingFormat == "raw")
        #expect(header.compatible == .lazyRefcounts)
        #expect(header.incompatible == .compressionType)
        #expect(header.compressionType == .zstd)
        #expect(header.featureNames == FeatureName.standard)
        #expect(header.size == 1 << 20)
    }

    @Test("a header of 512 bytes has room for bitmaps in place of feature names; a name that does not fit is refused")
    func smallClusters() throws {
        var options = CreateOptions(size: 1 << 20)
        options.clusterSize = 512
        options.backingFile = String(repeating: "x", count: 300)
        options.backingFormat = "qcow2"
        #expect(MiniCheck(try create(options)).isClean)
        options.backingFile = String(repeating: "x", count: 500)
        #expect(throws: OpenError.self) { try create(options) }
        options.clusterSize = 65536
        options.backingFile = String(repeating: "x", count: 1024)
        #expect(throws: OpenError.self) { try create(options) }
    }

    @Test("contradictory options are refused in QEMU's words")
    func refusals() {
        func refusal(_ change: (inout CreateOptions) -> Void) -> String? {
            var options = CreateOptions(size: 1 << 20)
            change(&options)
            do { _ = try create(options) } catch { return (error as? OpenError)?.message }
            return nil
        }
        let clusters = "Cluster size must be a power of two between 512 and 2048k"
        for size in [0, 256, 511, 3000, 4 << 20] as [UInt64] { #expect(refusal { $0.clusterSize = size } == clusters) }
        let widths = "Refcount width must be a power of two and may not exceed 64 bits"
        for bits in [-1, 0, 3, 128] { #expect(refusal { $0.refcountBits = bits } == widths) }
        #expect(refusal { $0.size = 1000 } == "Image size must be a multiple of 512 bytes")
        let large = "The image size is too large for file format 'qcow2' (try using a larger cluster size)"
        #expect(refusal { ($0.size, $0.clusterSize) = (129 << 30, 512) } == large)
        #expect(refusal { $0.size = 65 << 50 } == large)
        #expect(refusal { $0.size = UInt64.max - 511 } == large)
        #expect(refusal { $0.backingFormat = "raw" } == "Backing format cannot be used without backing file")
        #expect(
            refusal {
                $0.backingFile = "b"
                $0.preallocation = .metadata
            } == "Backing file and preallocation can only be used at the same time if extended_l2 is on")
        #expect(refusal { ($0.version, $0.lazyRefcounts) = (.v2, true) }?.hasPrefix("Lazy refcounts only") == true)
        #expect(refusal { ($0.version, $0.refcountBits) = (.v2, 8) }?.hasPrefix("Different refcount widths") == true)
        #expect(refusal { ($0.version, $0.compression) = (.v2, .zstd) }?.hasPrefix("Non-zlib compression") == true)
    }

    @Test("what was on a device before is neither seen nor trusted")
    func device() throws {
        var random = SeededRandom(seed: 4)
        let old = SparseBytes(random.bytes(1 << 20))
        let context = SimulatedContext()
        let device = SimDisk(context, contents: old, .init(limits: StorageLimits(zeroesFast: true)))
        device.audit = OrderAudit(device)
        var options = CreateOptions(size: 1 << 20)
        options.clusterSize = 4096
        try context.complete { [options] in try await Qcow2Create.create(on: device, options) }
        #expect(MiniCheck(device.durable).isClean)
        options.clusterSize = 2 << 20
        #expect(throws: OpenError.self) {
            try context.complete { [options] in try await Qcow2Create.create(on: device, options) }
        }
    }

    @Test("at no moment of a failed creation is there half an image", arguments: 0..<40 as Range<UInt64>)
    func crashes(seed: UInt64) throws {
        let context = SimulatedContext(seed: seed)
        let disk = SimDisk(context, .init(seed: seed))
        disk.audit = OrderAudit(disk)
        disk.faults.add(Fault([.write, .flush, .resize, .zero], nth: Int(seed % 12), effect: .torn))
        var options = CreateOptions(size: 1 << 20)
        options.clusterSize = 4096
        options.preallocation = .metadata
        try? context.complete { try await Qcow2Create.create(on: disk, options) }
        for image in disk.crashImages(20, seed: seed) {
            let check = MiniCheck(image)
            #expect(check.isClean || check.errors == ["no qcow2 magic"])
        }
    }
}
