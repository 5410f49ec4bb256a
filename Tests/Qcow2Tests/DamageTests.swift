import Block
import BlockTestKit
import Bytes
import Qcow2
import Testing

/// Damaged images: what is reported, what is refused, and that nothing else is harmed. Made by our own `create`, with
/// its L1 table, one L2 table and data at known places.
@Suite struct DamageTests {
    private static let copied: UInt64 = 1 << 63

    /// An image with one written cluster, and where its L1 table, L2 table and data are.
    private struct Sample {
        var contents: SparseBytes
        let l1: UInt64
        let l2: UInt64
        let data: UInt64
        let refcountTable: UInt64
        let refcountBlock: UInt64

        init(version: CreateOptions.Version = .v3) throws {
            let context = SimulatedContext()
            let disk = SimDisk(context)
            var options = CreateOptions(size: 1 << 30)
            options.version = version
            try context.complete { [options] in try await Qcow2Create.create(on: disk, options) }
            let bench = try Bench(disk.contents)
            try bench.write([UInt8](repeating: 7, count: 65536), at: 0)
            try bench.close()
            contents = bench.disk.contents
            l1 = bench.image.header.l1TableOffset
            refcountTable = bench.image.header.refcountTableOffset
            l2 = Self.entry(contents, l1) & 0x00ff_ffff_ffff_fe00
            data = Self.entry(contents, l2) & 0x00ff_ffff_ffff_fe00
            refcountBlock = Self.entry(contents, refcountTable)
        }

        static func entry(_ contents: SparseBytes, _ offset: UInt64) -> UInt64 {
            let bytes = contents.bytes(ByteRange(at: offset, count: 8))
            return bytes.byteSpan.bigEndian(at: 0)
        }

        mutating func put(_ value: UInt64, at offset: UInt64) {
            var bytes = [UInt8](repeating: 0, count: 8)
            bytes.put(value, at: 0, width: 8)
            contents.write(bytes.byteSpan, at: offset)
        }
    }

    private func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

    private func expectCorrupt(_ sample: Sample, _ message: String, writing: Bool = false) throws {
        // Read-only: reported, nothing written.
        if !writing {
            let bench = try Bench(sample.contents, options: Options(isReadOnly: true), isDamaged: true)
            #expect(throws: BlockError.corrupt) { try bench.read(0, 512) }
            #expect(throws: BlockError.corrupt) { try bench.read(0, 512) }
            #expect(bench.reports.map(\.message) == [message])
            #expect(bench.reports.first?.isFatal == false)
            #expect(bench.disk.contents == sample.contents)
        }
        // Writable: reported, marked, and writes are refused from then on.
        let bench = try Bench(sample.contents, isDamaged: true)
        #expect(throws: BlockError.corrupt) { try bench.write([UInt8](repeating: 1, count: 512), at: 0) }
        #expect(bench.reports.map(\.message) == [message])
        #expect(bench.reports.first?.isFatal == true)
        #expect(throws: BlockError.corrupt) { try bench.write([UInt8](repeating: 1, count: 512), at: 1 << 20) }
        #expect(bench.disk.durable.bytes(ByteRange(at: 79, count: 1)) == [2])
        try bench.close()
        #expect(throws: OpenError("qcow2: Image is corrupt; cannot be opened read/write")) {
            try Bench(bench.disk.contents, isDamaged: true)
        }
        let reader = try Bench(bench.disk.contents, options: Options(isReadOnly: true), isDamaged: true)
        #expect(reader.image.info.isCorrupt)
        #expect(try reader.read(600 << 20, 512) == [UInt8](repeating: 0, count: 512))
    }

    @Test("an unaligned L2 table offset is reported by value and index")
    func unalignedTable() throws {
        var sample = try Sample()
        sample.put(Self.copied | (sample.l2 + 512), at: sample.l1)
        try expectCorrupt(sample, "L2 table offset \(hex(sample.l2 + 512)) unaligned (L1 index: 0)")
    }

    @Test("R11: an L2 table past the end of the file is reported, and not read as empty")
    func tablePastEnd() throws {
        var sample = try Sample()
        sample.put(Self.copied | 0x1000_0000, at: sample.l1)
        try expectCorrupt(sample, "L2 table offset 0x10000000 past the end of the file (L1 index: 0)")
    }

    @Test(
        "an L1 entry that has only its flag names no table: it reads as zeros, takes writes, and does not stop a resize"
    )
    func flagWithoutTable() throws {
        var sample = try Sample()
        sample.put(Self.copied, at: sample.l1 + 8)
        let bench = try Bench(sample.contents, isDamaged: true)
        #expect(try bench.read(512 << 20, 512) == [UInt8](repeating: 0, count: 512))
        try bench.resize(256 << 20)
        try bench.resize(1 << 30)
        try bench.write([1, 2, 3], at: 512 << 20)
        #expect(try bench.read(512 << 20, 4) == [1, 2, 3, 0])
        #expect(bench.reports.isEmpty)
        try bench.close()
    }

    @Test("an unaligned cluster offset is reported by value and index")
    func unalignedCluster() throws {
        var sample = try Sample()
        sample.put(Self.copied | (sample.data + 512), at: sample.l2)
        try expectCorrupt(
            sample,
            "Cluster allocation offset \(hex(sample.data + 512)) unaligned (L2 offset: \(hex(sample.l2)), L2 index: 0)")
    }

    @Test("reserved bits in an L2 entry are reported")
    func reservedBits() throws {
        var sample = try Sample()
        let entry = Self.copied | 1 << 57 | sample.data
        sample.put(entry, at: sample.l2)
        try expectCorrupt(
            sample,
            "L2 entry \(hex(entry)) has reserved bits set or is out of range (L2 offset: \(hex(sample.l2)), L2 index: 0)"
        )
    }

    @Test(
        "R76: a guest write that would land on metadata is prevented",
        arguments: [
            "qcow2_header", "active L1 table", "active L2 table", "refcount table", "refcount block",
        ])
    func overlap(_ name: String) throws {
        var sample = try Sample()
        let target =
            switch name {
            case "active L1 table": sample.l1
            case "active L2 table": sample.l2
            case "refcount table": sample.refcountTable
            case "refcount block": sample.refcountBlock
            default: 0 as UInt64
            }
        // A zero offset means unallocated, so the header is named by a preallocated zero cluster's neighbour instead: its
        // refcount is damaged, and the allocator must not hand it out.
        if target == 0 {
            sample.contents.zero(ByteRange(at: sample.refcountBlock, count: 2))
            sample.put(0, at: sample.l2)
        } else {
            sample.put(Self.copied | target, at: sample.l2)
        }
        try expectCorrupt(
            sample, "Preventing invalid write on metadata (overlaps with \(name))", writing: true)
    }

    @Test("two claims to an L2 table's place end the image's writes before any is made")
    func contestedTable() throws {
        var sample = try Sample()
        sample.put(Self.copied | sample.refcountTable, at: sample.l1)
        let bench = try Bench(sample.contents, isDamaged: true)
        #expect(throws: BlockError.corrupt) { try bench.zero(0, 65536) }
        #expect(bench.reports.map(\.message) == ["Preventing invalid write on metadata (overlaps with refcount table)"])
    }

    @Test("an unaligned refcount block is reported by value and index")
    func unalignedBlock() throws {
        var sample = try Sample()
        sample.put(sample.refcountBlock + 512, at: sample.refcountTable)
        let bench = try Bench(sample.contents, isDamaged: true)
        #expect(throws: BlockError.corrupt) { try bench.write([1], at: 1 << 20) }
        #expect(
            bench.reports.map(\.message) == [
                "Refblock offset \(hex(sample.refcountBlock + 512)) unaligned (reftable index: 0)"
            ])
        // What was there stays readable.
        #expect(try bench.read(0, 512) == [UInt8](repeating: 7, count: 512))
    }

    @Test("a zero flag in a version 2 image is damage")
    func zeroFlagInVersion2() throws {
        var sample = try Sample(version: .v2)
        sample.put(Self.copied | sample.data | 1, at: sample.l2)
        let bench = try Bench(sample.contents, isDamaged: true)
        #expect(throws: BlockError.corrupt) { try bench.read(0, 512) }
        #expect(
            bench.reports.map(\.message) == [
                "Zero cluster entry found in pre-v3 image (L2 offset: \(hex(sample.l2)), L2 index: 0)"
            ])
    }

    @Test("compressed data that does not decompress is an I/O error, and no more")
    func compressedGarbage() throws {
        var sample = try Sample()
        sample.put(1 << 62 | sample.data, at: sample.l2)
        let bench = try Bench(sample.contents, options: Options(isReadOnly: true), isDamaged: true)
        #expect(throws: BlockError.io) { try bench.read(0, 512) }
        #expect(bench.reports.isEmpty)
    }

    @Test("a table that ends past the end of the file refuses the open, named with its place")
    func truncatedL1() throws {
        let sample = try Sample()
        var contents = sample.contents
        contents.resize(to: sample.l1)
        #expect(throws: OpenError.self) { try Bench(contents, options: Options(isReadOnly: true), isDamaged: true) }
    }

    @Test("any single flipped byte of the metadata ends in an error or in bytes, never in a trap")
    func flips() throws {
        let sample = try Sample()
        var random = SeededRandom(seed: 3)
        let places = [0, sample.l1, sample.l2, sample.refcountTable, sample.refcountBlock]
        for round in 0..<400 {
            var contents = sample.contents
            for _ in 0..<1 + round % 3 {
                let at = random.pick(places) + random.below(128 as UInt64)
                let byte = [UInt8(truncatingIfNeeded: random.next())]
                contents.write(byte.byteSpan, at: at)
            }
            guard let bench = try? Bench(contents, isDamaged: true) else { continue }
            _ = try? bench.read(0, 70000)
            _ = try? bench.write(random.bytes(700), at: 100)
            _ = try? bench.write(random.bytes(70000), at: 1 << 20)
            _ = try? bench.discard(0, 1 << 20)
            _ = try? bench.flush()
            _ = try? bench.close()
        }
    }
}
