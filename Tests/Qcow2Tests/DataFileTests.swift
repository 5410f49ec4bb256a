import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

/// Images whose guest data lies in a file of its own, plain and raw.
@Suite struct DataFileTests {
    /// An open image over two simulated disks, the order between which is audited.
    private final class Pair {
        let context: SimulatedContext
        let tables: SimDisk
        let data: SimDisk
        private(set) var image: Qcow2Image
        private(set) var io: BlockIO
        let backing: (any Storage)?
        private(set) var reports: [String] = []

        init(
            _ options: CreateOptions, seed: UInt64 = 1, backing: SparseBytes? = nil, losesData: Bool = false
        ) throws {
            context = SimulatedContext(seed: seed)
            let tables = SimDisk(context, .init(seed: seed))
            var kind = SimDisk.Options(seed: seed &+ 1, discarded: .zeros)
            // The first two are the creation's, and that of what was there before.
            if losesData { kind.lostFlushes = Set(2..<1000) }
            let data = SimDisk(context, kind)
            try context.complete { try await Qcow2Create.create(on: tables, data: data, options) }
            if losesData {
                try context.complete {
                    try await data.write([UInt8](repeating: 0xEE, count: Int(options.size)), at: 0)
                    try await data.flush()
                }
            }
            (self.tables, self.data) = (tables, data)
            self.backing = backing.map { MemoryStorage($0) }
            (image, io) = try Self.open(context, tables, data, self.backing)
            watch()
        }

        /// What a crash left.
        init(tables: SparseBytes, data: SparseBytes) throws {
            context = SimulatedContext(seed: 1)
            self.tables = SimDisk(context, contents: tables, .init(seed: 1))
            self.data = SimDisk(context, contents: data, .init(seed: 2))
            backing = nil
            (image, io) = try Self.open(context, self.tables, self.data, nil)
        }

        func watch() { tables.audit = OrderAudit(tables, data: data) }

        private static func open(
            _ context: SimulatedContext, _ tables: SimDisk, _ data: SimDisk, _ backing: (any Storage)?
        ) throws -> (Qcow2Image, BlockIO) {
            let walker = BlockIO(context: context, driver: .storage(data))
            let image = try context.complete {
                try await Qcow2Image.open(file: tables, options: Options()) { (_) async throws(OpenError) in walker }
            }
            image.hasBacking = backing != nil
            let io = BlockIO(
                context: context, driver: .format(image), file: BlockIO(context: context, driver: .storage(tables)),
                data: walker, backing: backing)
            return (image, io)
        }

        func close() throws {
            io.retire()
            try context.complete { [image] in try await image.close() }
        }

        func write(_ value: UInt8, _ offset: UInt64, _ count: UInt64) throws {
            let bytes = [UInt8](repeating: value, count: Int(count))
            try context.complete { [io] in try await io.write(bytes, at: offset) }
        }

        func read(_ offset: UInt64, _ count: UInt64) throws -> [UInt8] {
            try context.complete { [io] in try await io.bytes(at: offset, count: Int(count)) }
        }

        func zero(_ offset: UInt64, _ count: UInt64, _ flags: ZeroFlags) throws {
            try context.complete { [io] in try await io.zero(ByteRange(at: offset, count: count), flags: flags) }
        }

        func discard(_ offset: UInt64, _ count: UInt64) throws {
            try context.complete { [io] in try await io.discard(ByteRange(at: offset, count: count)) }
        }

        func resize(_ length: UInt64) throws { try context.complete { [io] in try await io.resize(to: length) } }
        func flush() throws { try context.complete { [io] in try await io.flush() } }
    }

    private static let size: UInt64 = 256 << 10
    private static let cluster: UInt64 = 4096

    private func options(raw: Bool = false, extended: Bool = false) -> CreateOptions {
        var options = CreateOptions(size: Self.size)
        options.clusterSize = extended ? 16384 : Self.cluster
        options.extendedL2 = extended
        options.dataFile = "disk.data"
        options.dataFileRaw = raw
        return options
    }

    private func expectSound(_ pair: Pair) throws {
        try pair.close()
        let check = MiniCheck(pair.tables.contents)
        #expect(check.isClean, "\(check.errors) \(check.leaks)")
        let file = MemoryStorage(pair.tables.contents)
        let result = try pair.context.complete { try await Qcow2Check.check(file) { _ in } }
        #expect(result.corruptions == 0 && result.leaks == 0 && result.checkErrors == 0)
    }

    @Test("guest data lies where the guest has it, in its own file, and the image holds tables alone")
    func placed() throws {
        let pair = try Pair(options(), backing: SparseBytes([UInt8](repeating: 9, count: Int(Self.size))))
        let before = pair.tables.length
        try pair.write(1, 5 * Self.cluster + 100, 3 * Self.cluster)
        try pair.write(2, 0, 512)
        try pair.flush()
        #expect(try pair.read(5 * Self.cluster, 101) == [UInt8](repeating: 9, count: 100) + [1])
        let data = pair.data.durable.bytes(ByteRange(at: 5 * Self.cluster, count: 101))
        #expect(data == [UInt8](repeating: 9, count: 100) + [1])
        #expect(pair.tables.length <= before + 2 * Self.cluster, "one L2 table was added, and nothing else")
        try expectSound(pair)
        let check = MiniCheck(pair.tables.contents)
        #expect(check.hasDataFile && check.mapped == [0: 0, 5: 5, 6: 6, 7: 7, 8: 8].mapValues { $0 * Self.cluster })
    }

    @Test("zeros and discards read as zeros, and the file for data may have the space back")
    func unmaps() throws {
        let pair = try Pair(options())
        try pair.write(1, 0, 16 * Self.cluster)
        try pair.zero(Self.cluster, Self.cluster, [])
        try pair.zero(3 * Self.cluster, Self.cluster, .mayUnmap)
        try pair.discard(5 * Self.cluster, 2 * Self.cluster)
        let read = try pair.read(0, 8 * Self.cluster)
        for index in 0..<8 {
            let expected: UInt8 = [1, 3, 5, 6].contains(index) ? 0 : 1
            let part = index * Int(Self.cluster)..<(index + 1) * Int(Self.cluster)
            #expect(read[part].allSatisfy { $0 == expected }, "\(index)")
        }
        try pair.flush()
        for index: UInt64 in [3, 5, 6] {
            #expect(!pair.data.durable.holds(ByteRange(at: index * Self.cluster, count: Self.cluster)), "\(index)")
        }
        // What is written there again is read again.
        try pair.write(4, 5 * Self.cluster + 512, 512)
        #expect(try pair.read(5 * Self.cluster + 511, 514).map { $0 } == [0] + [UInt8](repeating: 4, count: 512) + [0])
        try expectSound(pair)
    }

    @Test("a raw file for data reads as the disk by itself, whatever was done to the disk", arguments: [false, true])
    func raw(extended: Bool) throws {
        let pair = try Pair(options(raw: true, extended: extended), seed: 4)
        var random = SeededRandom(seed: 11)
        var model = [UInt8](repeating: 0, count: Int(Self.size))
        for round in 0..<200 {
            let offset = random.below(Self.size - 512)
            let count = 1 + random.below(min(Self.size - offset, 3 * Self.cluster))
            let value = UInt8(1 + round % 255)
            switch random.below(5) {
            case 0: try pair.zero(offset, count, random.chance(50) ? .mayUnmap : [])
            case 1:
                let (start, clusters) = (offset / 16384 * 16384, 1 as UInt64)
                try pair.discard(start, clusters * 16384)
                // A discard leaves what it likes; here the same in both.
                let found = try pair.read(start, 16384)
                model.replaceSubrange(Int(start)..<Int(start) + 16384, with: found)
                continue
            case 2: try pair.flush()
            default:
                try pair.write(value, offset, count)
                model.replaceSubrange(
                    Int(offset)..<Int(offset + count), with: repeatElement(value, count: Int(count)))
                continue
            }
            if try pair.read(offset, count).allSatisfy({ $0 == 0 }) {
                model.replaceSubrange(Int(offset)..<Int(offset + count), with: repeatElement(0, count: Int(count)))
            }
        }
        #expect(try pair.read(0, Self.size) == model)
        try pair.flush()
        #expect(pair.data.durable.array == model, "the file for data alone")
        try pair.resize(Self.size + Self.cluster)
        #expect(pair.data.length == Self.size + Self.cluster)
        try pair.resize(Self.size / 2)
        #expect(pair.data.length == Self.size / 2)
        #expect(try pair.read(0, Self.size / 2) == Array(model.prefix(Int(Self.size / 2))))
        try expectSound(pair)
        #expect(pair.image.header.autoclear == .rawExternalData, "it stays so when the image is opened to be written")
    }

    @Test("a new raw image, and what it gains, has every place in its tables", arguments: [false, true])
    func namesAll(extended: Bool) throws {
        var options = options(raw: true, extended: extended)
        options.size += 512
        let pair = try Pair(options)
        for size in [options.size, options.size + 100 * 16384, Self.size, 9 << 20] {
            try pair.resize(size)
            try pair.flush()
            let check = MiniCheck(pair.tables.durable)
            #expect(check.errors.isEmpty && check.size == size, "\(check.errors)")
            for number in 0..<size.dividedRoundingUp(by: check.subclusterSize) {
                #expect(check.mapped[number] == number * check.subclusterSize, "\(size) \(number)")
            }
        }
        try expectSound(pair)
    }

    /// A pair whose file for data is raw, as others made it: with nothing in its tables, or a cluster of zeros.
    private func foreign(zeros: Bool = false) throws -> Pair {
        let pair = try Pair(options())
        if zeros { try pair.zero(0, Self.size, []) }
        try pair.close()
        var tables = pair.tables.contents
        tables.write([2].rawBytes, at: 95)
        #expect(MiniCheck(tables).isDataRaw && MiniCheck(tables).mapped.isEmpty)
        let again = try Pair(tables: tables, data: pair.data.contents)
        again.watch()
        return again
    }

    @Test("whatever the tables say, the disk reads as its raw file does, after any crash", arguments: [false, true])
    func readsRaw(zeros: Bool) throws {
        let pair = try foreign(zeros: zeros)
        var random = SeededRandom(seed: 7)
        for round in 0..<60 {
            let offset = random.below(Self.size - 512)
            try pair.write(UInt8(1 + round), offset, 1 + random.below(min(Self.size - offset, 2 * Self.cluster)))
            if random.chance(15) { try pair.flush() }
            let tables = pair.tables.crashImage(.random(seed: random.next()))
            var data = pair.data.crashImage(.random(seed: random.next()))
            let after = try Pair(tables: tables, data: data)
            data.resize(to: Self.size)
            #expect(try after.read(0, Self.size) == data.array, "round \(round)")
            try after.close()
        }
        try expectSound(pair)
    }

    @Test(
        "a failed write leaves a raw file for data, and the disk, what the write made of it, and nothing else is named")
    func failedWrite() throws {
        for effect in [.nothing, .whole, .torn] as [Fault.Effect] {
            let pair = try foreign()
            pair.data.faults.add(Fault([.write], error: .io, effect: effect))
            #expect(throws: BlockError.io) { try pair.write(1, 2 * Self.cluster + 512, 1024) }
            pair.data.faults.clear()
            try pair.flush()
            #expect(try pair.read(0, Self.size) == pair.data.contents.array, "\(effect)")
            #expect(MiniCheck(pair.tables.contents).mapped.isEmpty, "\(effect)")
            try expectSound(pair)
        }
    }

    @Test("what a disk gains reads as zeros in its raw file too, where a longer disk lay there before it was committed")
    func grownAgain() throws {
        let pair = try Pair(options(raw: true))
        try pair.resize(2 * Self.size)
        try pair.write(1, Self.size, Self.size)
        try pair.resize(Self.size + Self.cluster)
        try pair.resize(2 * Self.size)
        try pair.flush()
        let gained = ByteRange(from: Self.size + Self.cluster, to: 2 * Self.size)
        #expect(try pair.read(gained.start, gained.count).allSatisfy { $0 == 0 })
        #expect(pair.data.durable.bytes(gained).allSatisfy { $0 == 0 })
        try expectSound(pair)
    }

    @Test(
        "after a crash of both disks what was flushed is there, the tables are clean, and no table ran ahead of its data"
    )
    func crashes() throws {
        for seed in 1...6 as ClosedRange<UInt64> {
            var random = SeededRandom(seed: seed)
            let pair = try Pair(options(extended: seed % 2 == 0), seed: seed)
            // Sector by sector what may be found there: what was flushed last, and all that was written since.
            var allowed = [Set<UInt8>](repeating: [0], count: Int(Self.size / 512))
            var latest = [UInt8](repeating: 0, count: allowed.count)
            for round in 0..<120 {
                let first = random.below(allowed.count)
                let count = 1 + random.below(min(allowed.count - first, 24))
                let value = random.chance(25) ? 0 : UInt8(1 + round)
                if random.chance(10) {
                    try pair.flush()
                    for index in allowed.indices { allowed[index] = [latest[index]] }
                    continue
                }
                for index in first..<first + count {
                    allowed[index].insert(value)
                    latest[index] = value
                }
                if value == 0 {
                    try pair.zero(UInt64(first) * 512, UInt64(count) * 512, random.chance(50) ? .mayUnmap : [])
                } else {
                    try pair.write(value, UInt64(first) * 512, UInt64(count) * 512)
                }
                guard random.chance(30) else { continue }
                let tables = pair.tables.crashImage(.random(seed: random.next()))
                let data = pair.data.crashImage(.random(seed: random.next()))
                #expect(MiniCheck(tables).errors.isEmpty, "seed \(seed) round \(round): \(MiniCheck(tables).errors)")
                let after = try Pair(tables: tables, data: data)
                let found = try after.read(0, Self.size)
                for index in allowed.indices {
                    let sector = found[index * 512..<(index + 1) * 512]
                    let value = sector.first ?? 0
                    #expect(
                        sector.allSatisfy { $0 == value } && allowed[index].contains(value),
                        "seed \(seed) round \(round) sector \(index): \(value) of \(allowed[index])")
                }
                try after.close()
            }
            try expectSound(pair)
        }
    }

    @Test("an audit finds a table that ran ahead of its data")
    func auditBites() throws {
        let pair = try Pair(options(), losesData: true)
        try pair.write(1, 0, Self.cluster)
        #expect(throws: (any Error).self) { try pair.flush() }
        #expect(pair.tables.audit?.broken?.hasPrefix("O2, O3") == true)
    }

    @Test("data elsewhere than where the guest has it is damage, in QEMU's words, and so is a compressed cluster")
    func misplaced() throws {
        let pair = try Pair(options())
        try pair.write(1, 0, 2 * Self.cluster)
        try pair.close()
        for (entry, words) in [
            (
                L2Entry.copied | Self.cluster,
                "External data file host cluster offset 0x1000 does not match guest cluster"
            ),
            (L2Entry.compressedFlag | 0x4000, "Compressed cluster entry found in image with external data file"),
        ] {
            var tables = pair.tables.contents
            let l1 = pair.image.header.l1TableOffset
            let l2: UInt64 = tables.bytes(ByteRange(at: l1, count: 8)).byteSpan.bigEndian(at: 0)
            var bytes = [UInt8](repeating: 0, count: 8)
            bytes.put(entry, at: 0, width: 8)
            tables.write(bytes.byteSpan, at: l2 & L2Entry.offsetMask)
            let context = SimulatedContext()
            let (file, data) = (MemoryStorage(tables), MemoryStorage(pair.data.contents))
            var reports: [String] = []
            try context.complete {
                let image = try await Qcow2Image.open(
                    file: file, options: Options(isReadOnly: true),
                    observer: Observer(onCorruption: { reports.append($0.message) })
                ) { (_) async throws(OpenError) in data }
                let io = BlockIO(
                    context: context, driver: .format(image), file: file, data: data, options: .init(isReadOnly: true))
                await #expect(throws: BlockError.corrupt) { _ = try await io.bytes(at: 0, count: 512) }
                #expect(try await io.bytes(at: Self.cluster, count: 512) == [UInt8](repeating: 1, count: 512))
            }
            #expect(reports.count == 1 && reports[0].hasPrefix(words), "\(reports)")
        }
    }

    @Test("an image whose data lies apart is not opened without it")
    func required() throws {
        let pair = try Pair(options())
        try pair.close()
        #expect(throws: OpenError("'data-file' is required for this image")) {
            try pair.context.complete { _ = try await Qcow2Image.open(file: pair.tables, options: Options()) }
        }
    }

    @Test("what needs counted clusters is refused: internal snapshots, and compressed writes")
    func refusesSharing() throws {
        let pair = try Pair(options())
        try pair.write(1, 0, Self.cluster)
        let new = NewSnapshot(name: "a", dateSeconds: 1, dateNanoseconds: 0)
        #expect(throws: BlockError.unsupported) {
            try pair.context.complete { [image = pair.image] in try await image.createSnapshot(new) }
        }
        #expect(throws: BlockError.unsupported) {
            try pair.context.complete { [io = pair.io] in
                try await io.write([UInt8](repeating: 0, count: Int(Self.cluster)), at: 0, flags: .compressed)
            }
        }
        #expect(try pair.read(0, Self.cluster) == [UInt8](repeating: 1, count: Int(Self.cluster)))
        try expectSound(pair)
    }

    @Test("the last cluster of a disk is filled up to the disk's end, and no further")
    func endOfDisk() throws {
        var options = options(raw: true)
        options.size = 5 * Self.cluster + 512
        let pair = try Pair(options)
        try pair.discard(0, options.size)
        try pair.write(7, 5 * Self.cluster + 100, 300)
        try pair.flush()
        #expect(pair.data.length == options.size)
        try expectSound(pair)
        options.dataFileRaw = false
        let plain = try Pair(options)
        try plain.write(7, 5 * Self.cluster + 100, 300)
        try plain.flush()
        #expect(plain.data.length == options.size)
        #expect(try plain.read(5 * Self.cluster + 99, 302) == [0] + [UInt8](repeating: 7, count: 300) + [0])
        try expectSound(plain)
    }

    @Test("options that contradict each other are refused in QEMU's words")
    func refused() {
        let cases: [((inout CreateOptions) -> Void, String)] = [
            ({ $0.dataFile = nil }, "data-file-raw requires data-file"),
            ({ $0.backingFile = "b" }, "Backing file and data-file-raw cannot be used at the same time"),
            (
                { $0.version = .v2 },
                "External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)"
            ),
        ]
        for (change, words) in cases {
            var options = options(raw: true)
            change(&options)
            #expect(throws: OpenError(words, cause: .invalid)) { try options.validate() }
        }
    }
}
