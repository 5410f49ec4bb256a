import Block
import Bytes
import Qcow2
import Testing

extension [UInt8] {
    /// Stores a big-endian number of `width` bytes.
    mutating func put(_ value: UInt64, at offset: Int, width: Int) {
        for byte in 0..<width {
            self[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - byte)))
        }
    }
}

private func decode(_ bytes: [UInt8]) throws(OpenError) -> Header { try Header.decode(bytes.byteSpan) }

@Suite struct HeaderTests {
    /// A valid header cluster, version 3 with 64 KiB clusters, 64 MiB of disk.
    static func valid(version: UInt32 = 3) throws -> [UInt8] {
        var header = Header(
            version: version, clusterBits: 16, size: 64 << 20, l1Size: 1, l1TableOffset: 0x30000,
            refcountTableOffset: 0x10000, refcountTableClusters: 1)
        header.extensions.insert(.backingFormat("raw"), at: 0)
        header.backingFile = "base.raw"
        return try header.encode()
    }

    struct Damage: CustomStringConvertible, Sendable {
        let description: String
        let message: String
        let changes: [(value: UInt64, offset: Int, width: Int)]

        init(_ name: String, _ message: String, _ changes: (UInt64, Int, Int)...) {
            description = name
            self.message = message
            self.changes = changes.map { ($0.0, $0.1, $0.2) }
        }
    }

    static let damages: [Damage] = [
        Damage("magic", "Image is not in qcow2 format", (0x5146_49fa, 0, 4)),
        Damage("version 0", "Unsupported qcow2 version 0", (0, 4, 4)),
        Damage("version 1", "Unsupported qcow2 version 1", (1, 4, 4)),
        Damage("version 4", "Unsupported qcow2 version 4", (4, 4, 4)),
        Damage("version max", "Unsupported qcow2 version 4294967295", (0xffff_ffff, 4, 4)),
        Damage("cluster bits 8", "Unsupported cluster size: 2^8", (8, 20, 4)),
        Damage("cluster bits 22", "Unsupported cluster size: 2^22", (22, 20, 4)),
        Damage("cluster bits max", "Unsupported cluster size: 2^4294967295", (0xffff_ffff, 20, 4)),
        Damage("header length 103", "qcow2 header too short", (103, 100, 4)),
        Damage("header length past the cluster", "qcow2 header exceeds cluster size", (65537, 100, 4)),
        Damage("header length max", "qcow2 header exceeds cluster size", (0xffff_ffff, 100, 4)),
        Damage("header length 4104", "qcow2 header length 4104 exceeds 4096 bytes", (4104, 100, 4)),
        Damage("backing offset past the cluster", "Invalid backing file offset", (65537, 8, 8)),
        Damage("backing offset max", "Invalid backing file offset", (.max, 8, 8)),
        Damage("backing name too long", "Backing file name too long", (1024, 16, 4)),
        Damage("backing name length max", "Backing file name too long", (0xffff_ffff, 16, 4)),
        Damage("backing name past the cluster", "Backing file name too long", (65530, 8, 8), (100, 16, 4)),
        Damage(
            "incompatible bit 63", "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000000",
            (1 << 63, 72, 8)),
        Damage(
            "incompatible bits 5 and 6", "Unsupported qcow2 feature(s): Unknown incompatible feature: 60", (0x60, 72, 8)
        ),
        Damage(
            "compression bit alone", "qcow2: Compression type incompatible feature bit must not be set", (8, 72, 8)),
        Damage("compression type alone", "qcow2: Compression type incompatible feature bit must be set", (1, 104, 1)),
        Damage("compression type 9", "qcow2: unknown compression type: 9", (8, 72, 8), (9, 104, 1)),
        Damage("refcount order 7", "Reference count entry width too large; may not exceed 64 bits", (7, 96, 4)),
        Damage(
            "refcount order max", "Reference count entry width too large; may not exceed 64 bits", (0xffff_ffff, 96, 4)),
        Damage("encryption method 3", "Unsupported encryption method 3", (3, 32, 4)),
        Damage("no refcount table", "Image does not contain a reference count table", (0, 56, 4)),
        Damage("refcount table of 129 clusters", "Reference count table too large", (129, 56, 4)),
        Damage("refcount table max", "Reference count table too large", (0xffff_ffff, 56, 4)),
        Damage("refcount table unaligned", "Reference count table offset invalid", (65537, 48, 8)),
        Damage("refcount table over the header", "Reference count table offset invalid", (0, 48, 8)),
        Damage("refcount table far out", "Reference count table offset invalid", (0x7fff_ffff_ffff_0000, 48, 8)),
        Damage("refcount table ends past 2^64", "Reference count table offset invalid", (0xffff_ffff_ffff_0000, 48, 8)),
        Damage("65537 snapshots", "Snapshot table too large", (65537, 60, 4)),
        Damage("snapshots max", "Snapshot table too large", (0xffff_ffff, 60, 4)),
        Damage("snapshot table unaligned", "Snapshot table offset invalid", (1, 60, 4), (513, 64, 8)),
        Damage("snapshot table far out", "Snapshot table offset invalid", (1, 60, 4), (0xffff_ffff_ffff_0000, 64, 8)),
        Damage("L1 table too large", "Active L1 table too large", (4_194_305, 36, 4)),
        Damage("L1 size max", "Active L1 table too large", (0xffff_ffff, 36, 4)),
        Damage("L1 table too small", "L1 table is too small", (0, 36, 4)),
        Damage("L1 table unaligned", "Active L1 table offset invalid", (0x30001, 40, 8)),
        Damage("L1 table far out", "Active L1 table offset invalid", (0x7fff_ffff_ffff_0000, 40, 8)),
        Damage("size 2^63", "Image is too big", (1 << 63, 24, 8)),
        Damage("size max", "Image is too big", (.max, 24, 8)),
        Damage("size that needs too many L1 entries", "Image is too big", (1 << 62, 24, 8)),
        Damage("size of one L1 entry more", "L1 table is too small", ((512 << 20) + 1, 24, 8)),
        Damage("extension too long", "Header extension too large", (0x1234_5678, 112, 4), (70000, 116, 4)),
        Damage("extension length max", "Header extension too large", (0x1234_5678, 112, 4), (0xffff_ffff, 116, 4)),
        Damage(
            "backing format too long", "ERROR: ext_backing_format: len=16 too large (>=16)", (16, 116, 4)),
    ]

    @Test("a hostile header field is refused by name", arguments: damages)
    func hostile(_ damage: Damage) throws {
        var bytes = try Self.valid()
        for change in damage.changes { bytes.put(change.value, at: change.offset, width: change.width) }
        // QEMU's words first; the field and its value may stand behind them.
        let error = #expect(throws: OpenError.self) { try decode(bytes) }
        #expect(error?.message.hasPrefix(damage.message) == true, "\(String(describing: error))")
    }

    @Test("no field value makes decoding trap, whatever it claims")
    func matrix() throws {
        let values: [UInt64] = [
            0, 1, 2, 511, 512, 513, 65535, 65536, 65537, 1 << 31, (1 << 32) - 1, 1 << 55, 1 << 56, 1 << 62, 1 << 63,
            .max - 1,
            .max,
        ]
        for version in [2, 3] as [UInt32] {
            let valid = try Self.valid(version: version)
            for offset in stride(from: 4, to: 160, by: 4) {
                for value in values {
                    for width in [4, 8] {
                        var bytes = valid
                        bytes.put(value, at: offset, width: width)
                        guard let header = try? decode(bytes) else { continue }
                        _ = header.unsupported
                        _ = header.geometry.l1Entries(for: header.size)
                    }
                }
            }
        }
    }

    @Test("a header cut short anywhere is refused or read, never a trap")
    func truncated() throws {
        let bytes = try Self.valid()
        for count in 0..<400 {
            let header = try? decode(Array(bytes[..<count]))
            #expect(header == nil || count >= 112)
        }
        #expect(throws: OpenError("qcow2 header too short")) { try decode(Array(bytes[..<71])) }
    }

    @Test("an unknown incompatible feature is named by the image's own table")
    func featureName() throws {
        var header = try decode(Self.valid())
        header.extensions = [.featureNames([FeatureName(kind: .incompatible, bit: 9, name: "time travel")])]
        var bytes = try header.encode()
        bytes.put(1 << 9 | 1 << 10, at: 72, width: 8)
        let message = "Unsupported qcow2 feature(s): time travel, Unknown incompatible feature: 400"
        #expect(throws: OpenError(message)) { try decode(bytes) }
    }

    @Test("data files and extended L2 entries are known", arguments: [4 as UInt64, 16])
    func known(_ bits: UInt64) throws {
        var bytes = try Self.valid()
        bytes.put(bits, at: 72, width: 8)
        #expect(try decode(bytes).unsupported == nil)
    }

    @Test(
        "what is not built yet is refused by name",
        arguments: [
            (1 as UInt64, "Unsupported qcow2 encryption: AES (encryption method 1)"),
            (2, "Unsupported qcow2 encryption: LUKS (encryption method 2)"),
        ])
    func notYet(_ method: UInt64, _ message: String) throws {
        var bytes = try Self.valid()
        bytes.put(method, at: 32, width: 4)
        #expect(try decode(bytes).unsupported == OpenError(message))
    }

    @Test("more than 256 extensions are refused, 256 are kept")
    func manyExtensions() throws {
        var header = try decode(Self.valid())
        header.extensions = (0..<256).map { .other(type: 0x1000 + UInt32($0), data: []) }
        let decoded = try decode(header.encode())
        #expect(decoded.extensions == header.extensions)
        header.extensions.append(.other(type: 1, data: []))
        let bytes = try header.encode()
        #expect(throws: OpenError("Header has more than 256 extensions")) { try decode(bytes) }
    }

    @Test("of several backing formats the last one counts, as in QEMU")
    func lastFormat() throws {
        var header = try decode(Self.valid(version: 3))
        header.extensions = [.backingFormat("qcow2"), .backingFormat("raw")]
        #expect(try decode(header.encode()).backingFormat == "raw")
    }

    @Test("encoding and decoding keep every field, unknown ones and unknown extensions too")
    func roundTrip() throws {
        for version in [2, 3] as [UInt32] {
            var header = try decode(Self.valid(version: version))
            header.extensions.append(.other(type: 0xdead_beef, data: [1, 2, 3]))
            header.snapshotCount = 3
            header.snapshotsOffset = 0x50000
            if version == 3 {
                header.incompatible = [.dirty, .corrupt, .compressionType]
                header.compressionType = .zstd
                header.compatible = CompatibleFeatures(rawValue: 0xff01)
                header.autoclear = AutoclearFeatures(rawValue: 0xf0)
                header.refcountOrder = 6
                header.unknownFields = Array(1...24)
            }
            let decoded = try decode(header.encode())
            #expect(decoded == header)
            #expect(decoded.backingFile == "base.raw")
            #expect(decoded.backingFormat == "raw")
        }
    }
}
