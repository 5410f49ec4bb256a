import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

@Suite struct CheckTests {
    /// An image of 1 MiB, all of it allocated, to be damaged by hand. With 4 KiB clusters: header 0, refcount table 1,
    /// block 2, L1 3, L2 4, data from 5.
    static func image(_ change: (inout CreateOptions) -> Void = { _ in }) throws -> SparseBytes {
        let memory = MemoryStorage(length: 0, growable: true)
        var options = CreateOptions(size: 1 << 20)
        options.clusterSize = 4096
        options.preallocation = .metadata
        change(&options)
        let chosen = options
        try SimulatedContext().complete { try await Qcow2Create.create(on: memory, chosen) }
        return memory.contents
    }

    struct Outcome {
        var result: Qcow2Check.Result
        var messages: [String]
        var image: SparseBytes
    }

    /// What a check says and does. Its writes are held against the rules of order, where the test does not say that the
    /// image is damaged in more than a crash leaves behind: leaks, and refcounts that are behind under the dirty bit.
    static func check(
        _ image: SparseBytes, repair: Qcow2Check.Repair = .none, memoryLimit: Int? = nil, isDamaged: Bool = false
    ) throws -> Outcome {
        let context = SimulatedContext()
        let disk = audited(image, on: context, isDamaged: isDamaged)
        let sink = Sink()
        let result = try context.complete {
            guard let memoryLimit else {
                return try await Qcow2Check.check(disk, repair: repair) { sink.messages.append($0) }
            }
            let header = try await Qcow2Check.readHeader(disk)
            let check = Qcow2Check(disk, header, repair, memoryLimit: memoryLimit) { sink.messages.append($0) }
            try await check.run()
            return check.result
        }
        return Outcome(result: result, messages: sink.messages, image: disk.contents)
    }

    private static func audited(
        _ image: SparseBytes, on context: SimulatedContext, isDamaged: Bool = false,
        _ options: SimDisk.Options = .init()
    ) -> SimDisk {
        let disk = SimDisk(context, contents: image, options)
        if !isDamaged { disk.audit = OrderAudit(disk) }
        return disk
    }

    private final class Sink { var messages: [String] = [] }

    static func patch(_ image: inout SparseBytes, at offset: UInt64, _ value: UInt64, bytes count: Int = 8) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64((count - 1 - $0) * 8)) }
        image.write(bytes.rawBytes, at: offset)
    }

    static let block: UInt64 = 2 * 4096
    static let l1: UInt64 = 3 * 4096
    static let l2: UInt64 = 4 * 4096
    static let copied: UInt64 = 1 << 63

    @Test("a clean image is told as clean, with its numbers")
    func clean() throws {
        let outcome = try Self.check(Self.image())
        #expect(outcome.messages == [])
        #expect(outcome.result.corruptions == 0 && outcome.result.leaks == 0 && outcome.result.checkErrors == 0)
        #expect(outcome.result.totalClusters == 256 && outcome.result.allocatedClusters == 256)
        #expect(outcome.result.fragmentedClusters == 0)
        #expect(outcome.result.imageEndOffset == 261 * 4096)
    }

    @Test("every kind of new image is clean", arguments: CreateTests.shapes)
    func shapes(shape: CreateTests.Shape) throws {
        let memory = MemoryStorage(length: 0, growable: true)
        try SimulatedContext().complete { try await Qcow2Create.create(on: memory, shape.options) }
        let outcome = try Self.check(memory.contents)
        #expect(outcome.messages == [])
        // The file may end inside its last cluster.
        #expect(outcome.result.imageEndOffset == memory.length.roundedUp(to: shape.options.clusterSize))
    }

    /// Damage, and what it is called.
    struct Damage: Sendable, CustomTestStringConvertible {
        let name: String
        let patches: [(offset: UInt64, value: UInt64, bytes: Int)]
        let messages: [String]
        let corruptions: UInt64
        let leaks: UInt64
        var testDescription: String { name }
    }

    static let damages: [Damage] = [
        Damage(
            name: "a data place that is not a cluster's", patches: [(l2, copied | 5 * 4096 + 512, 8)],
            messages: [
                "ERROR offset=5200: Data cluster is not properly aligned; L2 entry corrupted.",
                "ERROR cluster 6 refcount=1 reference=2",
            ], corruptions: 2, leaks: 0),
        Damage(
            name: "an L2 entry with reserved bits", patches: [(l2, copied | 1 << 60 | 5 * 4096, 8)],
            messages: ["ERROR found l2 entry with reserved bits set: 9000000000005000"], corruptions: 1, leaks: 0),
        Damage(
            name: "an L1 entry with reserved bits", patches: [(l1, copied | 1 | 4 * 4096, 8)],
            messages: ["ERROR found L1 entry with reserved bits set: 8000000000004001"], corruptions: 1, leaks: 0),
        Damage(
            name: "a reserved place of a zero cluster that is not a cluster's",
            patches: [(l2, copied | 5 * 4096 + 512 | 1, 8)],
            messages: [
                "ERROR offset=5200: Preallocated cluster is not properly aligned; L2 entry corrupted.",
                "ERROR cluster 6 refcount=1 reference=2",
            ], corruptions: 2, leaks: 0),
        Damage(
            name: "a refcount table entry with reserved bits", patches: [(4096, block | 1, 8)],
            messages: [
                "ERROR refcount table entry 0 has reserved bits set", "Leaked cluster 2 refcount=1 reference=0",
            ], corruptions: 1, leaks: 1),
        Damage(
            name: "a refcount block outside the image", patches: [(4096 + 8, 1 << 30, 8)],
            messages: ["ERROR refcount block 1 is outside image"], corruptions: 1, leaks: 0),
        Damage(
            name: "a refcount block named twice", patches: [(4096 + 8, block, 8)],
            messages: ["ERROR refcount block 1 refcount=2", "ERROR cluster 2 refcount=1 reference=2"], corruptions: 2,
            // What the block says in its second place is of clusters behind the file's end.
            leaks: 261),
        Damage(
            name: "data outside the image", patches: [(l2, copied | 1 << 30, 8)],
            messages: [
                "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                    + "offset 0x40000000 size 0x1000", "Leaked cluster 5 refcount=1 reference=0",
                "ERROR OFLAG_COPIED data cluster: l2_entry=8000000040000000 refcount=0",
            ], corruptions: 2, leaks: 1),
        Damage(
            name: "a refcount too low", patches: [(block + 10, 0, 2)],
            messages: [
                "ERROR cluster 5 refcount=0 reference=1",
                "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=0",
            ], corruptions: 2, leaks: 0),
        Damage(
            name: "a refcount too high", patches: [(block + 10, 2, 2)],
            messages: [
                "Leaked cluster 5 refcount=2 reference=1",
                "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=2",
            ], corruptions: 1, leaks: 1),
        Damage(
            name: "a missing COPIED flag", patches: [(l2, 5 * 4096, 8)],
            messages: ["ERROR OFLAG_COPIED data cluster: l2_entry=5000 refcount=1"], corruptions: 1, leaks: 0),
        Damage(
            name: "two guest clusters in one place", patches: [(l2 + 8, copied | 5 * 4096, 8)],
            messages: ["ERROR cluster 5 refcount=1 reference=2", "Leaked cluster 6 refcount=1 reference=0"],
            corruptions: 1, leaks: 1),
        Damage(
            name: "a compressed cluster marked COPIED", patches: [(l2, copied | 1 << 62 | 5 * 4096, 8)],
            messages: ["ERROR: coffset=0x5000: copied flag must never be set for compressed clusters"],
            corruptions: 1, leaks: 0),
        Damage(
            name: "no refcount block at all", patches: [(4096, 0, 8)],
            messages: ["ERROR cluster 0 refcount=0 reference=1", "ERROR cluster 1 refcount=0 reference=1"],
            corruptions: 260 + 257, leaks: 0),
    ]

    @Test("damage is named as qemu-img names it, and repaired where it can be", arguments: damages)
    func damage(damage: Damage) throws {
        var image = try Self.image()
        for patch in damage.patches { Self.patch(&image, at: patch.offset, patch.value, bytes: patch.bytes) }
        let found = try Self.check(image, isDamaged: true)
        #expect(Array(found.messages.prefix(damage.messages.count)) == damage.messages)
        #expect(found.result.corruptions == damage.corruptions)
        #expect(found.result.leaks == damage.leaks)
        #expect(found.image == image, "a check without repair writes nothing")
        #expect(!MiniCheck(image).isClean, "the independent checker sees it too")

        let repaired = try Self.check(image, repair: .all, isDamaged: true)
        let again = try Self.check(repaired.image, isDamaged: true)
        #expect(again.messages == [])
        #expect(repaired.result.corruptions == 0 && repaired.result.leaks == 0)
        #expect(repaired.result.corruptionsFixed + repaired.result.leaksFixed > 0)
        #expect(MiniCheck(repaired.image).isClean)
    }

    @Test("repairing leaks frees what is not used and touches nothing else")
    func leaks() throws {
        var image = try Self.image { $0.preallocation = .off }
        image.resize(to: 40 * 4096)
        for cluster in [10, 20, 30] as [UInt64] { Self.patch(&image, at: Self.block + cluster * 2, 3, bytes: 2) }
        let outcome = try Self.check(image, repair: .leaks)
        #expect(outcome.result.leaksFixed == 3 && outcome.result.leaks == 0)
        #expect(
            outcome.messages == [10, 20, 30].map { "Leaked cluster \($0) refcount=3 reference=0" }
                + [10, 20, 30].map { "Repairing cluster \($0) refcount=3 reference=0" })
        #expect(MiniCheck(outcome.image).isClean)
    }

    @Test("an image that was not closed is consistent and no longer dirty after the repair at its opening")
    func dirty() throws {
        var image = try Self.image { $0.lazyRefcounts = true }
        Self.patch(&image, at: 72, 1)
        for cluster in 50..<90 as Range<UInt64> { Self.patch(&image, at: Self.block + cluster * 2, 0, bytes: 2) }
        let context = SimulatedContext()
        let disk = Self.audited(image, on: context)
        let repaired = try context.complete {
            try await Qcow2Check.repair(disk, try await Qcow2Check.readHeader(disk))
        }
        #expect(repaired.result.corruptionsFixed == 40)
        #expect(repaired.header.incompatible == [])
        let check = MiniCheck(disk.durable)
        #expect(check.isClean && !check.isDirty)
    }

    @Test("a dirty image opens for writing once it is repaired, and not where it cannot be")
    func opensDirty() throws {
        var image = try Self.image { $0.lazyRefcounts = true }
        Self.patch(&image, at: 72, 1)
        Self.patch(&image, at: Self.block + 100, 0, bytes: 2)
        let context = SimulatedContext()
        let disk = Self.audited(image, on: context)
        try context.complete {
            let open = try await Qcow2Image.open(file: disk, options: Options())
            #expect(!open.header.incompatible.contains(.dirty))
            try await open.close()
        }
        #expect(MiniCheck(disk.contents).isClean)
        // Read-only it opens as it is, and nothing is written.
        let readOnly = MemoryStorage(image)
        try context.complete {
            _ = try await Qcow2Image.open(file: readOnly, options: Options(isReadOnly: true))
        }
        #expect(readOnly.contents == image)
        Self.patch(&image, at: Self.l2, Self.copied | 5 * 4096 + 512)
        let broken = MemoryStorage(image)
        #expect(throws: OpenError.self) {
            try context.complete { _ = try await Qcow2Image.open(file: broken, options: Options()) }
        }
        #expect(MiniCheck(broken.contents).isDirty, "what could not be repaired is not called clean")
    }

    @Test("a repair that a crash cuts short can be made again", arguments: 0..<60 as Range<UInt64>)
    func crashInRepair(seed: UInt64) throws {
        var image = try Self.image()
        Self.patch(&image, at: 72, 1)
        if seed % 2 == 0 { Self.patch(&image, at: 4096, 0) } else { Self.patch(&image, at: Self.block + 100, 0) }
        let context = SimulatedContext(seed: seed)
        // A whole block that is gone is more than a crash leaves behind.
        let disk = Self.audited(image, on: context, isDamaged: seed % 2 == 0, .init(seed: seed))
        disk.faults.add(Fault([.write, .flush], nth: Int(seed % 9), forever: true, effect: .torn))
        _ = try? context.complete { try await Qcow2Check.check(disk, repair: .all) { _ in } }
        for crashed in disk.crashImages(10, seed: seed) {
            let before = MiniCheck(crashed)
            #expect(before.isDirty || before.errors.isEmpty, "clean only where nothing is wrong")
            let healed = try Self.check(crashed, repair: .all, isDamaged: seed % 2 == 0)
            #expect(MiniCheck(healed.image).isClean)
        }
    }

    @Test("R90: memory stays bounded: counting in many small windows finds and heals the same")
    func windows() throws {
        var image = try Self.image { $0.clusterSize = 512 }
        // Refcounts of 2 bytes in the first block (cluster 2), data far up, and a cluster that nothing describes.
        for (cluster, value) in [(20, 9), (77, 0), (130, 2), (200, 0)] as [(UInt64, UInt64)] {
            Self.patch(&image, at: 2 * 512 + cluster * 2, value, bytes: 2)
        }
        image.resize(to: 64 << 20)
        let mapped = MiniCheck(image).mapped
        let place = try #require(mapped[2000])
        image.write([UInt8](repeating: 7, count: 512).rawBytes, at: 60 << 20)
        let entry = try #require(
            stride(from: UInt64(0), to: 4 << 20, by: 8).first {
                image.bytes(ByteRange(at: $0, count: 8)) == [
                    0x80, 0, 0, 0, 0, UInt8(place >> 16), UInt8(place >> 8 & 255), 0,
                ]
            })
        Self.patch(&image, at: entry, Self.copied | 60 << 20)
        let whole = try Self.check(image, isDamaged: true)
        let pieces = try Self.check(image, memoryLimit: 1, isDamaged: true)
        #expect(pieces.result == whole.result)
        #expect(pieces.messages == whole.messages)
        #expect(whole.result.corruptions >= 5 && whole.result.leaks == 3)
        let healed = try Self.check(image, repair: .all, memoryLimit: 1, isDamaged: true)
        #expect(MiniCheck(healed.image).isClean)
    }

    @Test("R90: counts take no more memory than they may, wherever the file is referenced")
    func pages() {
        var references = ReferenceCounts(clusters: 1 << 40, blockEntries: 2048, memoryLimit: 64 << 10)
        for cluster in stride(from: 0 as UInt64, to: 1 << 30, by: 1 << 18) { references.add(cluster) }
        #expect(references.memory <= 64 << 10 && references.window.upperBound < 1 << 30)
        #expect(references.count(0) == 1)
    }

    @Test("R90: a file that claims terabytes costs what its tables cost")
    func sparse() throws {
        var image = try Self.image { $0.preallocation = .off }
        image.resize(to: 4 << 40)
        let outcome = try Self.check(image)
        #expect(outcome.messages == [])
        #expect(outcome.result.imageEndOffset == 4 * 4096)
    }

    @Test("what cannot be read is told, and nothing is repaired then")
    func unreadable() throws {
        var image = try Self.image()
        Self.patch(&image, at: Self.block + 10, 2, bytes: 2)
        let faulty = FaultyStorage(MemoryStorage(image))
        faulty.plan.add(Fault([.read], forever: true, range: ByteRange(at: Self.l2, count: 4096)))
        let result = try? SimulatedContext().complete {
            try await Qcow2Check.check(faulty, repair: .all) { _ in }
        }
        #expect(result == nil || result?.checkErrors ?? 0 > 0)
        #expect(faulty.seen[.write] == nil)
    }
}
