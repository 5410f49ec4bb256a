import Block
import BlockTestKit
import Bytes
import Qcow2
import Simulation
import Testing

/// A hostile image under use: opened, read, written, flushed, closed and checked, over storage that notes what happens.
struct HostileRun {
    let image: HostileImage
    private let context = SimulatedContext(order: .fifo)
    /// What the guest writes, sector by sector; nothing else in any image looks like it.
    private static let guest = [UInt8](repeating: 0xD7, count: 512)

    /// The flag of a compressed cluster's entry.
    static let compressed: UInt64 = 1 << 62

    init(_ image: HostileImage) { self.image = image }

    func run() throws {
        try openForReading()
        try openForWriting()
        try check()
    }

    private func open(_ file: WatchedStorage, isReadOnly: Bool) throws -> Qcow2Image {
        try context.complete {
            try await Qcow2Image.open(file: file, options: Options(isReadOnly: isReadOnly))
        }
    }

    private func walker(_ format: Qcow2Image, _ file: WatchedStorage) -> BlockIO {
        BlockIO(
            context: context, driver: .format(format), file: file, options: .init(isReadOnly: format.isReadOnly))
    }

    /// Places on the guest's disk: its ends, and where L2 tables meet.
    private func places(_ format: Qcow2Image) -> [UInt64] {
        let (length, cluster) = (format.length, format.header.geometry.clusterSize)
        let coverage = format.header.geometry.l2Coverage
        let all = [0, cluster, cluster * 2, cluster * 5, coverage - 512, coverage, length / 2, length &- 512]
        return Set(all.map { $0 & ~511 }.filter { $0 < length }).sorted()
    }

    private func openForReading() throws {
        let file = WatchedStorage(image.image)
        do {
            let format = try open(file, isReadOnly: true)
            if case .refused(let word) = image.expectation, image.format == "qcow2" {
                Issue.record("\(image) was opened, and should be refused for its \(word)")
            }
            let io = walker(format, file)
            for place in places(format) {
                _ = try? context.complete { try await io.bytes(at: place, count: 512) }
            }
            try context.complete { try await format.close() }
        } catch let error as OpenError {
            judge(error)
        }
        #expect(file.changed == 0, "\(image): \(file.changed) bytes changed by reading")
    }

    private func judge(_ error: OpenError) {
        #expect(!error.message.isEmpty, "\(image)")
        guard image.format == "qcow2" else { return }
        switch image.expectation {
        case .opens: Issue.record("\(image) should be opened: \(error.message)")
        case .refused(let word):
            #expect(
                word.isEmpty || error.message.lowercased().contains(word.lowercased()),
                "\(image) is refused without a word of \(word): \(error.message)")
        case .either: break
        }
    }

    private func openForWriting() throws {
        let file = WatchedStorage(image.image)
        let claims = Claims(image.image)
        let before = file.length
        let opened = Result { try open(file, isReadOnly: false) }
        judgeOpening(file, before, claims)
        let format: Qcow2Image
        do { format = try opened.get() } catch is OpenError { return }
        // What a repair left is what writes must spare.
        let metadata = Claims(file.contents).ranges
        let io = walker(format, file)
        for place in places(format) {
            guard (try? context.complete({ try await io.write(Self.guest, at: place) })) != nil else { continue }
            guard let found = try? context.complete({ try await io.bytes(at: place, count: 512) }) else { continue }
            #expect(found == Self.guest, "\(image): other bytes than written at \(place)")
        }
        for range in file.guestRanges {
            let hit = metadata.first { $0.overlaps(range) }
            #expect(hit == nil, "\(image): guest bytes at \(range.start) in the metadata at \(hit?.start ?? 0)")
        }
        try? context.complete { try await io.flush() }
        io.retire()
        try? context.complete { try await format.close() }
    }

    /// An open writes nothing, but for the autoclear bits, or for a repair, which costs what the file has.
    private func judgeOpening(_ file: WatchedStorage, _ before: UInt64, _ claims: Claims) {
        if claims.isDirty {
            let most = before + 8 * claims.cluster
            #expect(file.changed <= most, "\(image): a repair changed \(file.changed) bytes of \(before)")
            #expect(file.length <= most, "\(image): a repair made \(before) bytes \(file.length)")
        } else if claims.hasAutoclear {
            #expect(file.changed <= 512 && file.length == before, "\(image): \(file.changed) bytes changed by opening")
        } else {
            #expect(file.changed == 0 && file.length == before, "\(image): \(file.changed) bytes changed by opening")
        }
    }

    private func check() throws {
        let file = WatchedStorage(image.image)
        do {
            _ = try context.complete { try await Qcow2Check.check(file) { _ in } }
        } catch let error as OpenError {
            #expect(!error.message.isEmpty, "\(image)")
        }
        #expect(file.changed == 0, "\(image): \(file.changed) bytes changed by a check")
    }

    /// What a read of a sector of the guest's disk comes to, in an image that opens.
    func read(at place: UInt64) throws -> Result<[UInt8], any Error> {
        let file = WatchedStorage(image.image)
        let io = walker(try open(file, isReadOnly: true), file)
        return Result { try context.complete { try await io.bytes(at: place, count: 512) } }
    }

    /// What a write of a sector of the guest's disk comes to, in an image that opens.
    func write(at place: UInt64) throws -> Result<Void, any Error> {
        let file = WatchedStorage(image.image)
        let io = walker(try open(file, isReadOnly: false), file)
        return Result { try context.complete { try await io.write(Self.guest, at: place) } }
    }

    /// Every read of an open fails once: it ends in an error or the read was not needed, and nothing is written.
    func failReads() {
        for isReadOnly in [true, false] {
            for nth in 0..<40 {
                let file = WatchedStorage(image.image)
                file.failingRead = nth
                let opened = try? open(file, isReadOnly: isReadOnly)
                #expect((opened == nil) == file.hasFailed, "\(image): read \(nth) of an open failed, and nobody cared")
                if opened == nil { #expect(file.changed == 0, "\(image): bytes changed by an open that failed") }
                if let opened { try? context.complete { try await opened.close() } }
                if !file.hasFailed { break }
            }
        }
    }
}

/// What an image's own words claim for metadata, read apart from `Qcow2`.
struct Claims {
    private(set) var ranges: [ByteRange] = []
    private(set) var cluster: UInt64 = 0
    private(set) var isDirty = false
    private(set) var hasAutoclear = false
    private let image: SparseBytes

    init(_ image: SparseBytes) {
        self.image = image
        let bits = number(20, 4)
        guard number(0, 4) == 0x5146_49FB, (9...21).contains(bits) else { return }
        cluster = 1 << bits
        if number(4, 4) >= 3 {
            isDirty = number(72, 8) & 1 == 1
            hasAutoclear = number(88, 8) != 0
        }
        claim(0, cluster)
        claim(number(40, 8), number(36, 4) * 8)
        claim(number(48, 8), number(56, 4) * cluster)
        if number(60, 4) > 0 { claim(number(64, 8), number(60, 4) * 40) }
        for index in 0..<min(number(36, 4), 4096) { claimTable(number(40, 8) &+ index * 8, 0x00FF_FFFF_FFFF_FE00) }
        for index in 0..<min(number(56, 4) * cluster / 8, 4096) { claimTable(number(48, 8) &+ index * 8, ~511) }
        if number(60, 4) > 0 { claim(number(number(64, 8), 8), number(number(64, 8) &+ 8, 4) * 8) }
    }

    private func number(_ offset: UInt64, _ width: UInt64) -> UInt64 {
        guard offset < image.length else { return 0 }
        return image.bytes(ByteRange(at: offset, count: width)).reduce(0) { $0 << 8 | UInt64($1) }
    }

    private mutating func claim(_ offset: UInt64, _ count: UInt64) {
        guard count > 0, let range = ByteRange(checked: offset, count: count) else { return }
        ranges.append(range.intersection(ByteRange(at: 0, count: image.length)))
    }

    /// The table that an entry of an L1 or refcount table names.
    private mutating func claimTable(_ entry: UInt64, _ mask: UInt64) {
        let place = number(entry, 8) & mask
        if place != 0, place % cluster == 0, place < image.length { claim(place, cluster) }
    }
}

/// Storage in memory that notes what is changed and where the guest's bytes end up.
final class WatchedStorage: Storage {
    private let below: MemoryStorage
    /// Bytes changed.
    private(set) var changed: UInt64 = 0
    private(set) var guestRanges: [ByteRange] = []
    /// How many more reads succeed before one fails.
    var failingRead: Int?
    private(set) var hasFailed = false

    init(_ contents: SparseBytes) {
        below = MemoryStorage(contents, limits: StorageLimits(zeroesFast: true, discards: true, growable: true))
    }

    var contents: SparseBytes { below.contents }
    var length: UInt64 { below.length }
    var limits: StorageLimits { below.limits }

    func read(at offset: UInt64, into buffer: inout MutableRawSpan) async throws(BlockError) {
        if let left = failingRead {
            failingRead = left == 0 ? nil : left - 1
            hasFailed = left == 0
            if hasFailed { throw .io }
        }
        try await below.read(at: offset, into: &buffer)
    }

    func write(at offset: UInt64, from bytes: RawSpan, flags: WriteFlags) async throws(BlockError) {
        changed += UInt64(bytes.byteCount)
        for start in stride(from: 0, to: bytes.byteCount - 511, by: 512) {
            let sector = bytes.extracting(start..<start + 512)
            // A guest's sector is all of one byte that no table has.
            guard sector.byte(at: 0) == 0xD7, sector.byte(at: 255) == 0xD7, sector.byte(at: 511) == 0xD7 else {
                continue
            }
            guestRanges.append(ByteRange(at: offset + UInt64(start), count: 512))
        }
        try await below.write(at: offset, from: bytes, flags: flags)
    }

    func zero(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        changed += range.count
        try await below.zero(range, flags: flags)
    }

    func discard(_ range: ByteRange) async throws(BlockError) {
        changed += range.count
        try await below.discard(range)
    }

    func flush() async throws(BlockError) { try await below.flush() }

    func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        var status = try await below.status(of: range)
        status.holder = self
        return status
    }

    func resize(to length: UInt64) async throws(BlockError) {
        changed += max(length, below.length) - min(length, below.length)
        try await below.resize(to: length)
    }
}
