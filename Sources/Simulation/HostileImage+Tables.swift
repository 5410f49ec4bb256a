import BlockTestKit

extension HostileImage {
    /// Every field of a snapshot table's entry; tables larger than the active one.
    static func snapshotTables() -> [HostileImage] {
        let fields: [(name: String, offset: UInt64, width: Int, limits: [UInt64])] = [
            ("l1_table_offset", 0, 8, [512, 4096]), ("l1_size", 8, 4, [2, 512, 4 << 20]), ("id_str_size", 12, 2, []),
            ("name_size", 14, 2, []), ("vm_state_size", 32, 4, []), ("extra_data_size", 36, 4, [8, 16, 24, 1024]),
            ("vm_state_size_large", 40, 8, []), ("disk_size", 48, 8, [4 << 20]),
        ]
        var images: [HostileImage] = []
        for field in fields {
            for value in Edge.values(width: field.width, around: field.limits) {
                let image = HostileCanvas.changed(.init(isShared: true)) {
                    $0.set(value, at: $0.at(.snapshotTable) + field.offset, width: field.width)
                }
                let expectation: Expectation =
                    switch field.name {
                    case "l1_table_offset" where value % 4096 != 0 || value > 1 << 56: .refused("snapshot")
                    case "l1_size": value > 4 << 20 ? .refused("snapshot L1 table too large") : .opens
                    case "extra_data_size" where value > 1024: .refused("extra metadata")
                    case "vm_state_size", "vm_state_size_large", "disk_size": .opens
                    default: .either
                    }
                images.append(HostileImage(.r03, "snapshot \(field.name)=\(Edge.name(value))", image, expectation))
            }
        }
        for entries: UInt64 in [3, 512, 513, 1 << 16, 4 << 20] {
            let image = HostileCanvas.changed(.init(isShared: true)) {
                $0.set(entries, at: $0.at(.snapshotTable) + 8, width: 4)
                for index in 0..<min(entries, 512) { $0.set($0.at(.l2), at: $0.at(.snapshotL1) + index * 8) }
                $0.grow(to: $0.at(.snapshotL1) + entries * 8)
            }
            images.append(HostileImage(.r03, "snapshot with \(entries) L1 entries, all one table", image, .opens))
        }
        return images
    }

    /// Files that end in the middle of what open reads.
    static func brokenOpens() -> [HostileImage] {
        let sound = HostileCanvas()
        let words: [(UInt64, String)] = [
            (0, "qcow2"), (3, "qcow2"), (4, "too short"), (71, "too short"), (72, "too short"), (103, "too short"),
            (104, ""), (111, ""), (112, ""), (511, ""), (4095, ""), (4096, "L1 table"), (12287, "L1 table"),
            (12303, "L1 table"), (12304, "snapshot"), (32767, "snapshot"), (32768, "snapshot"),
            (32768 + 57, "snapshot"),
        ]
        return words.map { length, word in
            var canvas = sound
            canvas.truncate(to: length)
            return HostileImage(.r04, "length=\(length)", canvas.bytes, .refused(word))
        }
    }

    /// Refcounts that contradict the tables, below a snapshot that shares them.
    static func oddRefcounts() -> [HostileImage] {
        var images: [HostileImage] = []
        for place in HostileCanvas.Place.allCases where place.rawValue < 10 {
            for count: UInt64 in [0, 1, 2, 3, 0x7FFF, 0xFFFE, 0xFFFF] {
                let image = HostileCanvas.changed(.init(isShared: true)) { $0.setRefcount(count, of: place.rawValue) }
                images.append(HostileImage(.r05, "refcount of \(place)=\(count)", image, .opens))
            }
        }
        let empty = HostileCanvas.changed { $0.put([UInt8](repeating: 0, count: 4096), at: $0.at(.refcountBlock)) }
        images.append(HostileImage(.r05, "all refcounts=0", empty, .opens))
        let none = HostileCanvas.changed { $0.set(0, at: $0.at(.refcountTable)) }
        images.append(HostileImage(.r05, "no refcount block", none, .opens))
        return images
    }

    /// A length here and a count there that disagree.
    static func lengthsAndCounts() -> [HostileImage] {
        var images: [HostileImage] = []
        let types: [(String, UInt64)] = [
            ("backing format", 0xE279_2ACA), ("feature names", 0x6803_F857), ("bitmaps", 0x2385_2875),
            ("encryption", 0x0537_BE77), ("data file", 0x4441_5441), ("unknown", 0x7777_7777),
        ]
        for (name, type) in types {
            for length: UInt64 in [0, 1, 15, 16, 23, 24, 25, 47, 48, 49, 3976, 3977, 1 << 31, 0xFFFF_FFFF] {
                let image = HostileCanvas.changed {
                    $0.set(type, at: 112, width: 4)
                    $0.set(length, at: 116, width: 4)
                    if type == 0x2385_2875 { $0.set(1, at: 88) }
                }
                images.append(
                    HostileImage(
                        .r09, "\(name) extension length=\(Edge.name(length))", image,
                        length > 3976 ? .refused("header extension") : .either))
            }
        }
        let extensionFields: [(String, UInt64, Int)] = [
            ("nb_bitmaps", 0, 4), ("bitmap_directory_size", 8, 8), ("bitmap_directory_offset", 16, 8),
        ]
        for (name, offset, width) in extensionFields {
            for value in Edge.values(width: width, around: [32, 4096, 64 << 20]) {
                let image = HostileCanvas.changed(.init(hasBitmaps: true)) {
                    $0.set(value, at: 120 + offset, width: width)
                }
                images.append(HostileImage(.r09, "\(name)=\(Edge.name(value))", image, .either))
            }
        }
        let entryFields: [(String, UInt64, Int)] = [
            ("bitmap_table_offset", 0, 8), ("bitmap_table_size", 8, 4), ("flags", 12, 4), ("name_size", 18, 2),
            ("extra_data_size", 20, 4),
        ]
        for (name, offset, width) in entryFields {
            for value in Edge.values(width: width, around: width == 8 ? [4096] : []) {
                let image = HostileCanvas.changed(.init(hasBitmaps: true)) {
                    $0.set(value, at: $0.at(.bitmapDirectory) + offset, width: width)
                }
                images.append(HostileImage(.r09, "bitmap \(name)=\(Edge.name(value))", image, .either))
            }
        }
        return images
    }

    /// Entries of tables at the edges of what a host offset is.
    static func strayEntries() -> [HostileImage] {
        let tables: [(String, HostileCanvas.Place)] = [
            ("L1", .l1), ("L2", .l2), ("refcount table", .refcountTable), ("snapshot L1", .snapshotL1),
            ("bitmap table", .bitmapTable),
        ]
        let high: UInt64 = HostileCanvas.copied
        let values =
            Edge.values(width: 8, around: [512, 4096])
            + [
                high | 1, high | 512, high | 4096, high | 1 << 55, high | (1 << 56) - 4096, high | 1 << 56, 1 << 62,
                3 << 62,
            ]
        return tables.flatMap { (name, place) in
            values.map { value in
                let image = HostileCanvas.changed(.init(hasBitmaps: place == .bitmapTable)) {
                    $0.set(value, at: $0.at(place))
                }
                return HostileImage(
                    .r11, "\(name) entry=\(Edge.name(value))", image, place == .bitmapTable ? .either : .opens)
            }
        }
    }

    /// Dirty images that claim far more than they hold: a repair costs what the file has.
    static func dirtyClaims() -> [HostileImage] {
        var images: [HostileImage] = []
        for bits: UInt64 in [9, 12, 16, 21] {
            let sound = HostileCanvas(.init(clusterBits: bits))
            let entries = min(1 << 16, sound.cluster / 8)
            for (name, emptyRefcounts) in [("sound refcounts", false), ("no refcounts", true)] {
                var canvas = sound
                canvas.set(1, at: 72)
                canvas.set(entries * sound.coverage, at: 24)
                canvas.set(entries, at: 36, width: 4)
                if emptyRefcounts { canvas.set(0, at: canvas.at(.refcountTable)) }
                images.append(HostileImage(.r12, "dirty, \(name), clusters=2^\(bits)", canvas.bytes, .opens))
            }
        }
        for value in [0, 1 << 31, 1 << 55, HostileCanvas.copied | 1 << 55, .max] as [UInt64] {
            for place in [HostileCanvas.Place.l1, .l2, .refcountTable] {
                let image = HostileCanvas.changed {
                    $0.set(1, at: 72)
                    $0.set(value, at: $0.at(place))
                }
                images.append(HostileImage(.r12, "dirty, \(place) entry=\(Edge.name(value))", image, .opens))
            }
        }
        return images
    }

    /// Dirty images whose tables name the same places again and again: a repair costs what is there once.
    static func dirtyRepetitions() -> [HostileImage] {
        let l1 = HostileCanvas.changed(.init(clusterBits: 16)) {
            let (entries, place) = (UInt64(1 << 16), $0.bytes.length)
            $0.set(1, at: 72)
            $0.set(entries, at: 36, width: 4)
            $0.set(place, at: 40)
            $0.fill($0.at(.l2), count: entries, at: place)
            $0.fill($0.at(.data), count: $0.cluster / 8, at: $0.at(.l2))
        }
        let snapshots = HostileCanvas.changed(.init(clusterBits: 16)) {
            let (count, place) = (UInt64(1 << 12), $0.bytes.length)
            $0.set(1, at: 72)
            $0.set(count, at: 60, width: 4)
            $0.set(place, at: 64)
            $0.fill($0.at(.l2), count: $0.cluster / 8, at: $0.at(.snapshotL1))
            for index in 0..<count {
                $0.set($0.at(.snapshotL1), at: place + index * 40)
                $0.set($0.cluster / 8, at: place + index * 40 + 8, width: 4)
            }
            $0.grow(to: place + count * 40)
        }
        let bitmaps = HostileCanvas.changed(.init(hasBitmaps: true)) {
            let (count, place) = (UInt64(1 << 12), $0.bytes.length)
            $0.set(1, at: 72)
            $0.set(count, at: 120, width: 4)
            $0.set(count * 32, at: 128)
            $0.set(place, at: 136)
            for index in 0..<count {
                let entry = place + index * 32
                $0.set($0.at(.bitmapTable), at: entry)
                $0.set($0.cluster / 8, at: entry + 8, width: 4)
                // In use, tracking changes, with a name of its own.
                $0.set(1, at: entry + 12, width: 4)
                $0.set(1, at: entry + 16, width: 1)
                $0.set(16, at: entry + 17, width: 1)
                $0.set(4, at: entry + 18, width: 2)
                $0.put(String(1 << 12 + index), at: entry + 24)
            }
            $0.grow(to: place + count * 32)
        }
        return [
            HostileImage(.r12, "dirty, 2^16 L1 entries name one L2 table", l1, .opens),
            HostileImage(.r12, "dirty, 2^12 snapshots of one L1 table", snapshots, .opens),
            HostileImage(.r12, "dirty, 2^12 bitmaps of one table", bitmaps, .opens),
        ]
    }

    static func manyExtensions() -> [HostileImage] {
        var images: [HostileImage] = []
        for count in [255, 256, 257, 1000, 130_000] {
            for type: UInt64 in [0x7777_0000, 0x6803_F857, 0xE279_2ACA] {
                let image = HostileCanvas.changed(.init(clusterBits: count > 1000 ? 21 : 16)) {
                    var list: [UInt8] = []
                    let one = (0..<4).map { UInt8(truncatingIfNeeded: type >> UInt64((3 - $0) * 8)) } + [0, 0, 0, 0]
                    list.reserveCapacity(count * 8)
                    for _ in 0..<count { list += one }
                    $0.put(list, at: 112)
                }
                images.append(
                    HostileImage(
                        .r13, "\(count) empty extensions of type \(String(type, radix: 16))", image,
                        count > 256 ? .refused("extensions") : .opens))
            }
        }
        return images
    }

    /// Images at what the format allows, which cost memory and time.
    static func greedyImages() -> [HostileImage] {
        let snapshots = HostileCanvas.changed(.init(clusterBits: 16)) {
            $0.set(65536, at: 60, width: 4)
            $0.set(1 << 20, at: 64)
            $0.grow(to: 16 << 20)
        }
        let sharing = HostileCanvas.changed(.init(isShared: true)) {
            $0.set(4096, at: 60, width: 4)
            $0.set(1 << 20, at: 64)
            for index: UInt64 in 0..<4096 {
                $0.set($0.at(.snapshotL1), at: 1 << 20 + index * 40)
                $0.set(2, at: 1 << 20 + index * 40 + 8, width: 4)
            }
            $0.grow(to: 2 << 20)
        }
        // More than a list may take in memory, and more than a table may have.
        let names = [200, 600].map { (count: UInt64) in
            HostileCanvas.changed {
                $0.set(count, at: 60, width: 4)
                $0.set(1 << 20, at: 64)
                for index in 0..<count { $0.set(0xFFFF_FFFF, at: 1 << 20 + index * 131_112 + 12, width: 4) }
                $0.grow(to: count * (1 << 18))
            }
        }
        let manyTables = HostileCanvas.changed(.init(clusterBits: 9)) {
            // Every entry of a table of 32 MiB names a table, all of them past the file's end.
            $0.set(4 << 20, at: 36, width: 4)
            $0.set(1 << 20, at: 40)
            $0.grow(to: 33 << 20)
            for index: UInt64 in 0..<4096 { $0.set(HostileCanvas.copied | (index + 1) << 30, at: 1 << 20 + index * 8) }
        }
        let oneTable = HostileCanvas.changed {
            $0.set(4096, at: 36, width: 4)
            $0.set(1 << 20, at: 40)
            for index: UInt64 in 0..<4096 { $0.set($0.at(.l2), at: 1 << 20 + index * 8) }
        }
        let bitmaps = HostileCanvas.changed(.init(hasBitmaps: true)) {
            $0.set(4096, at: 120, width: 4)
            $0.set(24 * 4096, at: 128)
            for index: UInt64 in 0..<4096 {
                $0.set($0.at(.bitmapTable), at: $0.at(.bitmapDirectory) + 4096 * 16 + index * 24)
                $0.set(0x7FFF_FFFF, at: $0.at(.bitmapDirectory) + 4096 * 16 + index * 24 + 8, width: 4)
            }
            $0.set($0.at(.bitmapDirectory) + 4096 * 16, at: 136)
        }
        return [
            HostileImage(.r15, "65536 empty snapshots", snapshots, .opens),
            HostileImage(.r15, "4096 snapshots of one table", sharing, .opens),
            HostileImage(
                .r15, "200 snapshots with 131070 bytes of names", names[0], .refused("snapshot table too large")),
            HostileImage(
                .r15, "600 snapshots with 131070 bytes of names", names[1], .refused("snapshot table too large")),
            HostileImage(.r15, "L1 table at its limit, 4096 tables past the end", manyTables, .opens),
            HostileImage(.r15, "4096 L1 entries of one table", oneTable, .opens),
            HostileImage(.r15, "4096 bitmaps of 2^31-1 entries", bitmaps, .refused("bitmap")),
        ]
    }

    /// Cases that fuzzers found elsewhere: bytes changed at random, from a fixed seed.
    static func fuzzed() -> [HostileImage] {
        var random = SeededRandom(seed: 80)
        return (0..<60).map { round in
            let image = HostileCanvas.changed(.init(isShared: round % 2 == 0, hasBitmaps: round % 3 == 0)) { canvas in
                let places = [0, canvas.at(.l1), canvas.at(.l2), canvas.at(.refcountTable), canvas.at(.snapshotTable)]
                for _ in 0..<1 + round % 4 {
                    let at = places[Int(random.below(5 as UInt64))] + random.below(112 as UInt64)
                    canvas.put([UInt8(truncatingIfNeeded: random.next())], at: at)
                }
            }
            return HostileImage(.r17, "bytes at random \(round)", image)
        }
    }

    /// Each structure laid on each other.
    static func overlaps() -> [HostileImage] {
        let pointers: [(String, (HostileCanvas) -> UInt64, UInt64)] = [
            ("L1 table", { _ in 40 }, 0), ("refcount table", { _ in 48 }, 0), ("snapshot table", { _ in 64 }, 0),
            ("refcount block", { $0.at(.refcountTable) }, 0), ("L2 table", { $0.at(.l1) }, HostileCanvas.copied),
            ("data", { $0.at(.l2) }, HostileCanvas.copied),
            ("second data", { $0.at(.l2) + 8 }, HostileCanvas.copied),
            ("zero data", { $0.at(.l2) }, HostileCanvas.copied | 1),
            ("snapshot L1 table", { $0.at(.snapshotTable) }, 0),
            ("bitmap directory", { _ in 136 }, 0), ("bitmap table", { $0.at(.bitmapDirectory) }, 0),
        ]
        return pointers.flatMap { (name, pointer, flag) in
            HostileCanvas.Place.allCases.map { place in
                let image = HostileCanvas.changed(.init(hasBitmaps: true)) {
                    $0.set($0.at(place) | flag, at: pointer($0))
                }
                return HostileImage(.r17, "\(name) on \(place)", image)
            }
        }
    }

    /// Files of which nearly all is a hole.
    static func longHoles() -> [HostileImage] {
        var images: [HostileImage] = []
        for bits: UInt64 in [9, 12, 16, 21] {
            let image = HostileCanvas.changed(.init(clusterBits: bits)) { $0.grow(to: 4 << 40) }
            images.append(HostileImage(.r90, "a hole of 4 TiB, clusters=2^\(bits)", image, .opens))
        }
        let spread = HostileCanvas.changed {
            $0.grow(to: 4 << 40)
            for index: UInt64 in 3..<512 { $0.set(index << 32, at: $0.at(.l2) + index * 8) }
        }
        images.append(HostileImage(.r90, "data all over 2 TiB", spread, .opens))
        let blocks = HostileCanvas.changed {
            $0.grow(to: 4 << 40)
            for index: UInt64 in 1..<512 { $0.set(index << 32, at: $0.at(.refcountTable) + index * 8) }
        }
        images.append(HostileImage(.r90, "refcount blocks all over 2 TiB", blocks, .opens))
        return images
    }
}
