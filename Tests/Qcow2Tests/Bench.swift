import Block
import BlockTestKit
import Bytes
import DirtyMap
import Qcow2
import Testing

/// An open image over a simulated disk, with its walker, on a simulated context.
final class Bench {
    let context: SimulatedContext
    var disk: SimDisk
    var image: Qcow2Image
    var io: BlockIO
    let backing: (any Storage)?
    private let seen = Seen()
    /// What the image reported since it was opened first.
    var reports: [CorruptionReport] { seen.reports }
    var fences: [BlockError] { seen.fences }

    private final class Seen {
        var reports: [CorruptionReport] = []
        var fences: [BlockError] = []
        var observer: Observer {
            Observer(
                onCorruption: { [weak self] in self?.reports.append($0) },
                onFence: { [weak self] in self?.fences.append($0) })
        }
    }

    /// Every write is held against the rules of order, where the test does not say that the image is damaged.
    init(
        _ contents: SparseBytes, seed: UInt64 = 1, options: Options = Options(), backing: SparseBytes? = nil,
        limits: StorageLimits? = nil, disk diskOptions: SimDisk.Options? = nil,
        isDamaged: Bool = false
    ) throws {
        context = SimulatedContext(seed: seed)
        var diskOptions = diskOptions ?? SimDisk.Options(seed: seed)
        if let limits { diskOptions.limits = limits }
        disk = SimDisk(context, contents: contents, diskOptions)
        if !isDamaged { disk.audit = OrderAudit(disk) }
        self.backing = backing.map { MemoryStorage($0) }
        (image, io) = try Self.open(context, disk, self.backing, options, seen.observer)
    }

    private static func open(
        _ context: SimulatedContext, _ disk: SimDisk, _ backing: (any Storage)?, _ options: Options,
        _ observer: Observer
    ) throws -> (Qcow2Image, BlockIO) {
        let image = try context.complete { try await Qcow2Image.open(file: disk, options: options, observer: observer) }
        image.hasBacking = backing != nil
        let walker = BlockIO(
            context: context, driver: .format(image),
            file: BlockIO(context: context, driver: .storage(disk)), backing: backing,
            options: .init(isReadOnly: options.isReadOnly), tracker: image.bitmaps)
        return (image, walker)
    }

    func reopen(_ options: Options = Options()) throws {
        try close()
        disk.reopen()
        (image, io) = try Self.open(context, disk, backing, options, seen.observer)
    }

    func close() throws {
        io.retire()
        try context.complete { [image] in try await image.close() }
    }

    func read(_ offset: UInt64, _ count: Int) throws -> [UInt8] {
        try context.complete { [io] in try await io.bytes(at: offset, count: count) }
    }

    func write(_ bytes: [UInt8], at offset: UInt64) throws {
        try context.complete { [io] in try await io.write(bytes, at: offset) }
    }

    func zero(_ offset: UInt64, _ count: UInt64, _ flags: ZeroFlags = []) throws {
        try context.complete { [io] in try await io.zero(ByteRange(at: offset, count: count), flags: flags) }
    }

    func discard(_ offset: UInt64, _ count: UInt64) throws {
        try context.complete { [io] in try await io.discard(ByteRange(at: offset, count: count)) }
    }

    func flush() throws { try context.complete { [io] in try await io.flush() } }
    func resize(_ length: UInt64) throws { try context.complete { [io] in try await io.resize(to: length) } }
}

extension Bench {
    /// Closes the image, and sees that nothing is wrong with its metadata.
    func closedClean() throws -> MiniCheck {
        try close()
        let check = MiniCheck(disk.contents)
        #expect(check.isClean, "\(check.errors) \(check.leaks)")
        return check
    }
}

func bytes(_ value: UInt8, _ count: UInt64) -> [UInt8] { [UInt8](repeating: value, count: Int(count)) }
