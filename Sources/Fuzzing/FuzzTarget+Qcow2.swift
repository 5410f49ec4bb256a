import Block
import BlockTestKit
import Bytes
import Daemon
import JSON
import Qcow2

extension FuzzTarget {
    /// Input: the length of a program (two bytes), the program, the image. Whatever the image claims, opening, checking,
    /// repairing and using it ends in errors at worst, and a daemon opens nothing because of it. An image in which both checkers find nothing wrong reads as what was
    /// written to it, is never reported as damaged, and is as sound after it was closed.
    static let qcow2 = FuzzTarget(name: "qcow2") { input in
        var reader = InputReader(input)
        let program = reader.bytes(Int(reader.short()))
        let image = Array(reader.rest)
        guard Qcow2Run.activeEntries(image) <= Qcow2Run.mostActiveEntries else { return }
        try Qcow2Run(image: image).run(program)
    }
}

/// A daemon is told to open the image, and one that is sealed asks the host for nothing else. It treats backing files as
/// `backing` says.
func openSealed(_ context: SimulatedContext, _ image: SparseBytes, _ backing: DaemonConfiguration.Backing)
    async throws(Finding)
{
    let host = MemoryHost(context, files: ["/disk": image])
    let daemon = Dispatcher(
        context: context, host: host, configuration: DaemonConfiguration(version: "0", backing: backing))
    let option = DaemonOption(
        .blockdev, "driver=qcow2,node-name=disk,read-only=on,file.driver=file,file.filename=/disk")
    // Whether it opens is the image's affair.
    _ = try? await daemon.carryOut(option)
    await daemon.close()
    var granted = GrantedNames()
    granted.insert(.string("/disk"))
    try granted.judge(host, .sealed)
}

/// One image and a program on it.
private final class Qcow2Run {
    private let context = SimulatedContext(order: .fifo)
    private let disk: MemoryStorage
    /// What holds the data of an image whose data lies apart.
    private let data = MemoryStorage(length: 0, growable: true)
    private var open: (image: Qcow2Image, io: BlockIO)?
    /// What the guest's disk reads as; nil where the image is not sound, or too large to be known.
    private var model: DiskModel?
    private var isSound = false
    private var reports: [String] = []

    private static let largestModel: UInt64 = 256 << 10
    private static let largestSize: UInt64 = 64 << 20
    private static let mostSteps = 64
    /// Entries of the active L1 table: 512 KiB. What the format allows, 64 times as much, takes many seconds where every
    /// comparison is traced, and nothing that a table of this size does not reach. The hostile images have the largest.
    static let mostActiveEntries = 1 << 16

    /// What the header says of the active L1 table's length, where there is a header.
    static func activeEntries(_ image: [UInt8]) -> Int {
        image.count < 40 ? 0 : image[36..<40].reduce(0) { $0 << 8 | Int($1) }
    }

    init(image: [UInt8]) {
        disk = MemoryStorage(
            SparseBytes(image), limits: StorageLimits(zeroesFast: true, discards: true, growable: true))
    }

    func run(_ program: [UInt8]) throws {
        let program = InputReader(program)
        try context.complete { [self] in try await carryOut(program) }
        try context.runToIdle()
    }

    private func carryOut(_ program: InputReader) async throws {
        var program = program
        try await openSealed(context, disk.contents, .sealed)
        isSound = await isClean()
        await lookReadOnly()
        guard await openImage(readOnly: false) else { return await repair() }
        try await learn()
        for _ in 0..<Self.mostSteps where !program.isEmpty && open != nil { try await step(&program) }
        try await finish()
    }

    // MARK: the image as a whole

    /// Whether both checkers find nothing that may lose data; asked of a copy.
    private func isClean() async -> Bool {
        let copy = MemoryStorage(disk.contents, limits: disk.limits)
        guard let result = try? await Qcow2Check.check(copy, report: { _ in }) else { return false }
        guard result.corruptions == 0, result.checkErrors == 0 else { return false }
        let second = MiniCheck(copy.contents)
        return second.errors.isEmpty && !second.isDirty && !second.isCorrupt
    }

    private func repair() async {
        _ = try? await Qcow2Check.check(disk, repair: .all, report: { _ in })
        _ = await openImage(readOnly: false)
        await forget()
    }

    private func openImage(readOnly: Bool) async -> Bool {
        let file = BlockIO(context: context, driver: .storage(disk))
        let options = Options(isReadOnly: readOnly, l2CacheSize: 2 << 9, refcountCacheSize: 4 << 9)
        let observer = Observer(onCorruption: { [weak self] in self?.reports.append($0.message) })
        let data = BlockIO(context: context, driver: .storage(data))
        let opened = try? await Qcow2Image.open(file: file, options: options, observer: observer) {
            (_) async throws(OpenError) in data
        }
        guard let image = opened else { return false }
        let backing = image.hasBacking ? Self.backing : nil
        // What was freed keeps its bytes, so that a place that is not written whole shows.
        let io = BlockIO(
            context: context, driver: .format(image), file: file, data: image.header.hasDataFile ? data : nil,
            backing: backing.map {
                BlockIO(context: context, driver: .storage(MemoryStorage($0)), options: .init(isReadOnly: true))
            }, options: .init(punchesFreed: false, isReadOnly: readOnly))
        open = (image, io)
        return true
    }

    private static let backing = SparseBytes((0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7 | 1) })

    /// Opens and reads without leave to write: nothing is written.
    private func lookReadOnly() async {
        let before = disk.contents
        guard await openImage(readOnly: true), let io = open?.io else { return }
        _ = try? await io.bytes(at: 0, count: Int(min(io.length, 8192)))
        _ = try? await io.write([1], at: 0)
        await forget()
        if disk.contents != before { reports.append("a read-only open wrote") }
    }

    private func forget() async {
        guard let (image, io) = open else { return }
        io.retire()
        try? await image.close()
        open = nil
    }

    private func learn() async throws {
        try expect(!reports.contains("a read-only open wrote"), "a read-only open wrote")
        guard isSound, let io = open?.io, io.length <= Self.largestModel else { return }
        // A cluster that does not decompress is found by reading alone.
        guard let bytes = try? await io.bytes(at: 0, count: Int(io.length)) else {
            isSound = false
            return
        }
        var contents = SparseBytes(bytes)
        contents.resize(to: io.length)
        model = DiskModel(contents)
    }

    private func close() async throws {
        guard let (image, io) = open else { return }
        var failure: (any Error)?
        do {
            try await io.flush()
            io.retire()
            try await image.close()
        } catch { failure = error }
        open = nil
        guard isSound else { return }
        try expect(failure == nil, "a sound image does not close: \(failure.map { "\($0)" } ?? "")")
        try expect(reports.isEmpty, "a sound image is reported as damaged: \(reports)")
    }

    private func finish() async throws {
        try await close()
        guard isSound else { return await repair() }
        let check = try await Qcow2Check.check(disk, report: { [self] in reports.append($0) })
        try expect(check.corruptions == 0 && check.checkErrors == 0, "a sound image is damaged: \(reports)")
        let second = MiniCheck(disk.contents)
        try expect(second.errors.isEmpty, "a sound image is damaged: \(second.errors)")
        try expect(await openImage(readOnly: true), "a sound image does not open again")
        try await compare(ByteRange(at: 0, count: model?.length ?? 0))
        await forget()
    }

    // MARK: steps

    private func step(_ program: inout InputReader) async throws {
        guard let io = open?.io else { return }
        let code = program.byte()
        let scale: UInt64 = [1, 512, 16 << 10, max(io.length >> 16, 1)][Int(code >> 4 & 3)]
        let offset = UInt64(program.short()) * scale
        let count = UInt64(program.byte()) * (code & 0x40 == 0 ? 1 : 64)
        guard let range = ByteRange(checked: offset, count: count) else { return }
        switch code & 15 {
        case 0, 1, 2: try await write(range, program.byte(), io)
        case 3:
            try await change(range, fill: 0) { (io) async throws(BlockError) in try await io.zero(range, flags: []) }
        case 4:
            try await change(range, fill: 0) { (io) async throws(BlockError) in
                try await io.zero(range, flags: [.mayUnmap, .fua])
            }
        case 5, 6: try await discard(range, io)
        case 7, 8: try await compare(range)
        case 9: try await flush(io)
        case 10: try await status(range, io)
        case 11: try await resize(to: min(offset, Self.largestSize), io)
        case 12:
            try await close()
            guard await openImage(readOnly: false) else {
                return try expect(!isSound, "a sound image does not open again")
            }
        case 13: await context.sleep(ms: 1500)
        default: try await write(range, 0, io)
        }
    }

    private func flush(_ io: BlockIO) async throws {
        do { try await io.flush() } catch { try expect(!isSound, "a sound image does not flush: \(error)") }
    }

    private func write(_ range: ByteRange, _ fill: UInt8, _ io: BlockIO) async throws {
        let bytes = [UInt8](repeating: fill, count: Int(range.count))
        try await change(range, fill: fill) { (io) async throws(BlockError) in
            try await io.write(bytes, at: range.start)
        }
    }

    /// A change that succeeded is read back; after one that failed each byte is as before or as it would have been.
    private func change(
        _ range: ByteRange, fill: UInt8, _ body: (BlockIO) async throws(BlockError) -> Void
    ) async throws {
        guard let io = open?.io else { return }
        let isInside = range.end <= io.length
        let bytes = [UInt8](repeating: fill, count: Int(range.count))
        do throws(BlockError) { try await body(io) } catch {
            guard isSound, isInside, model != nil else { return }
            let found = try await io.bytes(at: range.start, count: bytes.count)
            let mismatch = model?.observe(found, at: range.start, afterFailedChangeTo: bytes)
            return try expect(mismatch == nil, "after a failed change (\(error)): \(mismatch.map { "\($0)" } ?? "")")
        }
        try expect(isInside, "a change past the end succeeded")
        model?.write(bytes, at: range.start)
        if isSound {
            let found = try await io.bytes(at: range.start, count: bytes.count)
            try expect(found == bytes, "what was written to \(range) is not read")
        }
    }

    private func discard(_ range: ByteRange, _ io: BlockIO) async throws {
        let isInside = range.end <= io.length
        do throws(BlockError) { try await io.discard(range) } catch { return }
        try expect(isInside, "a discard past the end succeeded")
        model?.discard(range)
    }

    private func compare(_ range: ByteRange) async throws {
        guard let io = open?.io else { return }
        let bytes: [UInt8]
        do throws(BlockError) { bytes = try await io.bytes(at: range.start, count: Int(range.count)) } catch {
            return try expect(model == nil || range.end > io.length, "a sound image does not read: \(error)")
        }
        let mismatch = model?.observe(bytes, at: range.start)
        try expect(mismatch == nil, "\(mismatch.map { "\($0)" } ?? "")")
    }

    private func status(_ range: ByteRange, _ io: BlockIO) async throws {
        guard !range.isEmpty, range.end <= io.length, let status = try? await io.status(of: range) else { return }
        try expect(status.count > 0, "a status covers nothing")
        guard status.flags.contains(.zero), let model else { return }
        let part = range.prefix(status.count)
        let mismatch = model.mismatch([UInt8](repeating: 0, count: Int(part.count)), at: part.start)
        try expect(mismatch == nil, "a status says zero at \(part)")
    }

    private func resize(to length: UInt64, _ io: BlockIO) async throws {
        let before = io.length
        do throws(BlockError) { try await io.resize(to: length) } catch {
            return try expect(!isSound || io.length == before, "a resize that failed changed the length")
        }
        model?.resize(to: io.length)
        if io.length > 4 * Self.largestModel { model = nil }
    }
}
