import BlockTestKit

/// A field of the header with what its values must come to.
private struct HeaderField: Sendable {
    let name: String
    let offset: UInt64
    let width: Int
    /// Values of interest besides the usual edges.
    let limits: [UInt64]
    let judge: @Sendable (UInt64, HostileCanvas) -> HostileImage.Expectation

    init(
        _ name: String, _ offset: UInt64, _ width: Int, _ limits: [UInt64] = [],
        _ judge: @escaping @Sendable (UInt64, HostileCanvas) -> HostileImage.Expectation
    ) {
        self.name = name
        self.offset = offset
        self.width = width
        self.limits = limits
        self.judge = judge
    }

    /// A table's offset: at a cluster, not the first, and where host offsets go.
    static func offset(_ name: String, _ at: UInt64, _ word: String, bytes: UInt64, isRead: Bool = true) -> HeaderField
    {
        HeaderField(name, at, 8, [512, 4096, 1 << 55]) { value, canvas in
            if value % canvas.cluster != 0 || value == 0 || value >= 1 << 56 { return .refused(word) }
            if isRead, value > canvas.bytes.length - bytes { return .refused(word) }
            return .either
        }
    }

    /// Those that say how large something is.
    static func sizes(_ canvas: HostileCanvas) -> [HeaderField] {
        let l1End = (canvas.bytes.length - canvas.at(.l1)) / 8
        return [
            HeaderField("cluster_bits", 20, 4, [9, 12, 21]) { value, _ in
                (9...21).contains(value) ? .either : .refused("cluster size")
            },
            HeaderField("size", 24, 8, [canvas.size]) { value, canvas in
                guard value > canvas.size else { return .opens }
                // Either no L1 table can be as large as it asks for, or this one is not.
                let isTooBig = value > UInt64(Int64.max) || (value - 1) / canvas.coverage >= 4 << 20
                return .refused(isTooBig ? "Image is too big" : "size")
            },
            HeaderField("l1_size", 36, 4, [2, l1End, 4 << 20]) { value, _ in
                value < 2 || value > l1End ? .refused("L1 table") : .opens
            },
            .offset("l1_table_offset", 40, "L1 table", bytes: 16),
            .offset("refcount_table_offset", 48, "reference count table", bytes: canvas.cluster, isRead: false),
            HeaderField("refcount_table_clusters", 56, 4, [(8 << 20) / canvas.cluster]) { value, canvas in
                value == 0 || value > (8 << 20) / canvas.cluster ? .refused("reference count table") : .opens
            },
            HeaderField("nb_snapshots", 60, 4, [65536]) { value, _ in
                value <= 1 ? .opens : value > 65536 ? .refused("snapshot") : .either
            },
            .offset("snapshots_offset", 64, "snapshot", bytes: 58),
        ]
    }

    /// Those that version 2 has as well.
    static let old: [HeaderField] = [
        HeaderField("magic", 0, 4, [0x5146_49FB]) { value, _ in
            value == 0x5146_49FB ? .opens : .refused("qcow2 format")
        },
        HeaderField("version", 4, 4, [2, 3, 4]) { value, _ in
            value == 2 || value == 3 ? .either : .refused("version")
        },
        HeaderField("backing_file_offset", 8, 8, [72, 104, 112, 512, 4096]) { value, canvas in
            value > canvas.cluster ? .refused("backing file offset") : .either
        },
        HeaderField("backing_file_size", 16, 4, [1023, 2048]) { value, _ in
            value > 1023 ? .refused("backing file name") : .opens
        },
        HeaderField("crypt_method", 32, 4, [2]) { value, _ in value == 0 ? .opens : .refused("encryption") },
    ]

    static let new: [HeaderField] = [
        HeaderField("incompatible_features", 72, 8, [2, 4, 8, 16, 32]) { value, _ in
            switch value {
            case 0..<4: .opens
            case 4..<8: .refused("data-file")
            case 8, 9: .refused("compression type")
            case 16, 17: .refused("subcluster")
            default: .refused("feature")
            }
        },
        HeaderField("compatible_features", 80, 8) { _, _ in .opens },
        HeaderField("autoclear_features", 88, 8, [2]) { _, _ in .opens },
        HeaderField("refcount_order", 96, 4, [6, 64]) { value, _ in value > 6 ? .refused("reference count") : .opens },
        HeaderField("header_length", 100, 4, [104, 112, 120, 2048, 4096]) { value, canvas in
            if value < 104 || value > min(canvas.cluster, 4096) { return .refused("header") }
            return value == 112 || value == 104 || value == 120 ? .opens : .either
        },
        HeaderField("compression_type", 104, 1, [2]) { value, _ in value == 0 ? .opens : .refused("compression type") },
    ]

    func images(_ history: HostileImage.History, _ style: HostileCanvas.Style, _ suffix: String) -> [HostileImage] {
        let sound = HostileCanvas(style)
        return Edge.values(width: width, around: limits).map { value in
            var canvas = sound
            if name == "backing_file_size" { canvas.set(canvas.nameOffset, at: 8) }
            canvas.set(value, at: offset, width: width)
            return HostileImage(
                history, "\(name)=\(Edge.name(value))\(suffix)", canvas.bytes, judge(value, sound))
        }
    }
}

extension HostileImage {
    /// Sizes and offsets whose products overflow, or that nothing in the file backs.
    static func sizeFields() -> [HostileImage] {
        var images: [HostileImage] = []
        for bits: UInt64 in [9, 16] {
            let style = HostileCanvas.Style(clusterBits: bits)
            images += HeaderField.sizes(HostileCanvas(style)).flatMap { $0.images(.r01, style, " clusters=2^\(bits)") }
        }
        // The largest clusters take long where they open, and other classes open them: here what is refused.
        let largest = HostileCanvas.Style(clusterBits: 21)
        images += HeaderField.sizes(HostileCanvas(largest)).flatMap { $0.images(.r01, largest, " clusters=2^21") }
            .filter { if case .refused = $0.expectation { true } else { false } }
        // The file has room for all that is claimed: only the limit itself refuses it.
        let roomy: [(String, UInt64, UInt64, Int, Expectation)] = [
            ("l1_size", 36, 4 << 20, 4, .opens), ("l1_size", 36, 4 << 20 + 1, 4, .refused("L1 table too large")),
            ("refcount_table_clusters", 56, 2048, 4, .opens),
            ("refcount_table_clusters", 56, 2049, 4, .refused("reference count table too large")),
        ]
        for (name, offset, value, width, expectation) in roomy {
            let image = HostileCanvas.changed {
                $0.set(value, at: offset, width: width)
                $0.set(16 << 12, at: offset == 36 ? 40 : 48)
                $0.grow(to: 64 << 20)
            }
            images.append(HostileImage(.r01, "\(name)=\(Edge.name(value)) in a long file", image, expectation))
        }
        return images
    }

    /// The rest of the header, and all of it in version 2.
    static func otherFields() -> [HostileImage] {
        let old = HostileCanvas.Style(version: 2)
        return (HeaderField.old + HeaderField.new).flatMap { $0.images(.r02, HostileCanvas.Style(), "") }
            + (HeaderField.old.filter { $0.name != "version" } + HeaderField.sizes(HostileCanvas(old)))
            .flatMap { $0.images(.r02, old, " version=2") }
    }

    /// Zeros where something is divided by, or shifted.
    static func divisors() -> [HostileImage] {
        var images = [
            HostileImage(
                .r06, "all fields=0", HostileCanvas.changed { $0.put([UInt8](repeating: 0, count: 100), at: 8) },
                .refused("cluster size")),
            HostileImage(.r06, "size=0", HostileCanvas.changed { $0.set(0, at: 24) }, .opens),
            HostileImage(
                .r06, "size=0 l1_size=0",
                HostileCanvas.changed {
                    $0.set(0, at: 24)
                    $0.set(0, at: 36, width: 4)
                    $0.set(0, at: 40)
                }, .opens),
            HostileImage(.r06, "size=511", HostileCanvas.changed { $0.set(511, at: 24) }, .opens),
            HostileImage(.r06, "length=0", SparseBytes(), .refused("qcow2")),
        ]
        for order: UInt64 in 0...6 {
            images.append(
                HostileImage(
                    .r06, "refcount_order=\(order)", HostileCanvas.changed { $0.set(order, at: 96, width: 4) }, .opens))
        }
        for (name, offset, width) in [("granularity", 17, 1), ("type", 16, 1), ("table_size", 8, 4)]
            as [(String, UInt64, Int)]
        {
            for value in Edge.values(width: width) {
                let image = HostileCanvas.changed(.init(hasBitmaps: true)) {
                    $0.set(value, at: $0.at(.bitmapDirectory) + offset, width: width)
                }
                images.append(HostileImage(.r06, "bitmap \(name)=\(Edge.name(value))", image, .either))
            }
        }
        return images
    }

    /// qcow version 1, which is not read: its header is refused whatever it says.
    static func oldVersions() -> [HostileImage] {
        func image(_ bits: UInt64, _ l2Bits: UInt64, _ size: UInt64) -> SparseBytes {
            HostileCanvas.changed {
                $0.put([UInt8](repeating: 0, count: 112), at: 0)
                $0.set(0x5146_49FB, at: 0, width: 4)
                $0.set(1, at: 4, width: 4)
                $0.set(size, at: 24)
                $0.set(bits, at: 32, width: 1)
                $0.set(l2Bits, at: 33, width: 1)
                $0.set($0.at(.l1), at: 40)
            }
        }
        return [
            (12, 9, 1 << 20), (0, 9, 1 << 20), (12, 0, 1 << 20), (12, 255, 1 << 20), (255, 255, .max), (9, 9, 1 << 63),
        ]
        .map { (bits: UInt64, l2Bits: UInt64, size: UInt64) in
            HostileImage(
                .r07, "cluster_bits=\(bits) l2_bits=\(l2Bits) size=\(Edge.name(size))", image(bits, l2Bits, size),
                .refused("version 1"))
        }
    }

    /// Disks of the largest size that an L1 table can map, one sector less and one more.
    static func hugeClaims() -> [HostileImage] {
        [9, 21].flatMap { (bits: UInt64) -> [HostileImage] in
            let sound = HostileCanvas(.init(clusterBits: bits))
            let most = sound.coverage << 22
            return [most - 512, most, most + 512, most * 2].map { size in
                var canvas = sound
                let table = max(16 * sound.cluster, sound.bytes.length)
                canvas.set(size, at: 24)
                canvas.set(4 << 20, at: 36, width: 4)
                canvas.set(table, at: 40)
                canvas.grow(to: table + 32 << 20)
                return HostileImage(
                    .r08, "size=\(Edge.name(size)) clusters=2^\(bits)", canvas.bytes,
                    size > most ? .refused("too big") : .opens)
            }
        }
    }

    /// Extensions and names that leave the first cluster or lie on the header.
    static func headerLayouts() -> [HostileImage] {
        var images: [HostileImage] = []
        for offset: UInt64 in [0, 8, 72, 104, 112, 2048, 4088, 4095, 4096, 4097] {
            for length: UInt64 in [0, 1, 8, 1023, 1024] {
                let image = HostileCanvas.changed {
                    $0.set(offset, at: 8)
                    $0.set(length, at: 16, width: 4)
                }
                let isOutside = offset > 4096 || (offset != 0 && length > min(1023, 4096 - offset))
                images.append(
                    HostileImage(
                        .r10, "backing name at \(offset), \(length) bytes", image,
                        isOutside ? .refused("backing file") : .either))
            }
        }
        for (place, length) in [(4080, 0), (4080, 9), (4088, 0), (4088, 1), (4089, 1), (4095, 1)] as [(UInt64, UInt64)]
        {
            let image = HostileCanvas.changed {
                // One unknown extension fills up to there.
                $0.set(0x7777_0001, at: 112, width: 4)
                $0.set(place - 120, at: 116, width: 4)
                $0.set(0x7777_0002, at: place, width: 4)
                $0.set(length, at: place + 4, width: 4)
            }
            images.append(HostileImage(.r10, "last extension at \(place), \(length) bytes", image))
        }
        for length: UInt64 in [104, 105, 111, 112, 113, 2047, 4088, 4089, 4095, 4096] {
            let image = HostileCanvas.changed(.init(backing: "b", backingFormat: "raw")) {
                $0.set(length, at: 100, width: 4)
            }
            images.append(HostileImage(.r10, "header_length=\(length) with a backing name at 2048", image))
        }
        return images
    }
}
