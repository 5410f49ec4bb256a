public import Block
public import BlockTestKit
import Bytes
import DirtyMap
import Filters
public import Qcow2

/// A chain of qcow2 images over simulated disks, put together by hand: below all perhaps a raw one, the top one open for
/// writing, the others for reading.
public final class SimulatedChain {
    public let context: SimulatedContext
    public let shape: Shape
    /// The raw disk at the bottom.
    public private(set) var base: SimDisk?
    /// The disks of the qcow2 images, from the bottom.
    public private(set) var disks: [SimDisk] = []
    /// Those of their data, where that lies apart, by the image's index.
    public private(set) var dataDisks: [Int: SimDisk] = [:]
    /// What shall fail on all of the chain's disks.
    public let faults = FaultPlan()
    /// Whether images may get bitmaps while they are open.
    public var tracksBitmaps = false
    /// The walkers of those that are open.
    private var open: [Int: (image: Qcow2Image, io: BlockIO, front: BlockIO)] = [:]
    private let diskOptions: SimDisk.Options
    private var random: SeededRandom

    /// The disks draw their latencies from seeds of their own.
    public init(_ context: SimulatedContext, _ shape: Shape, seed: UInt64, _ options: SimDisk.Options = .init()) {
        self.context = context
        self.shape = shape
        diskOptions = options
        random = SeededRandom(seed: seed ^ 0xC4A1)
    }

    public var top: Int { disks.count - 1 }

    /// The disks that the top image writes to: its own, and that of its data where it lies apart.
    public var topDisks: [SimDisk] { disks.isEmpty ? [] : [disks[top]] + [dataDisks[top]].compactMap { $0 } }

    /// Whether a flush of the top image's disks has failed since it was opened.
    public var hasFailedFlush: Bool { topDisks.contains(where: \.hasFailedFlush) }

    /// The walker of the top image. It is open.
    public var io: BlockIO {
        guard let io = io(top) else { preconditionFailure("the chain is closed") }
        return io
    }

    public func io(_ index: Int) -> BlockIO? { open[index]?.io }

    /// What a guest's requests go through: the top image's walker, or that of a filter before it. It is open.
    public var front: BlockIO {
        guard let front = open[top]?.front else { preconditionFailure("the chain is closed") }
        return front
    }

    /// The top image. It is open.
    public var image: Qcow2Image {
        guard let image = open[top]?.image else { preconditionFailure("the chain is closed") }
        return image
    }

    /// Whether the top image is open and refuses no changes.
    public var takesChanges: Bool { open[top].map { $0.image.writeRefusal == nil } ?? false }

    public func disk(_ contents: SparseBytes = SparseBytes()) -> SimDisk {
        var options = diskOptions
        options.seed = random.next()
        let disk = SimDisk(context, contents: contents, options)
        disk.faults = faults
        return disk
    }

    /// Puts a raw disk at the bottom.
    public func setBase(_ contents: SparseBytes) { base = disk(contents) }

    /// Makes a new image on top of the chain, which is closed or open for reading, and opens it. `onMaking` is shown its empty
    /// disks, `onMade` told when it is there.
    public func push(
        size: UInt64, onMaking: (SimDisk, SimDisk?) -> Void = { _, _ in }, onMade: () -> Void = {}
    ) async throws {
        let disk = disk()
        let data = shape.dataFile == .none ? nil : self.disk()
        let options = creation(size: size, hasDataFile: data != nil)
        onMaking(disk, data)
        try await Qcow2Create.create(on: disk, data: data, options)
        onMade()
        if let room = shape.room { disk.capacity = disk.length + room * shape.clusterSize }
        try await push(disk, data: data)
    }

    private func creation(size: UInt64, hasDataFile: Bool) -> CreateOptions {
        var options = CreateOptions(size: size)
        options.version = shape.version == 2 ? .v2 : .v3
        options.clusterSize = shape.clusterSize
        options.extendedL2 = shape.extendedL2
        options.refcountBits = shape.refcountBits
        options.lazyRefcounts = shape.lazyRefcounts
        if base != nil || !disks.isEmpty {
            options.backingFile = "below"
            options.backingFormat = disks.isEmpty ? "raw" : "qcow2"
        }
        // On top of another image only subclusters can have room and no data.
        if options.backingFile == nil || options.extendedL2 { options.preallocation = shape.preallocation }
        options.dataFile = hasDataFile ? "data" : nil
        options.dataFileRaw = shape.dataFile == .raw && options.backingFile == nil
        return options
    }

    /// Puts an image that is there on top and opens it. Where it does not open, the chain is as before; the first image
    /// stays.
    public func push(_ disk: SimDisk, data: SimDisk? = nil) async throws {
        disks.append(disk)
        dataDisks[top] = data
        do { try await open(top, readOnly: false) } catch {
            if disks.count > 1 {
                dataDisks[top] = nil
                disks.removeLast()
            }
            throw error
        }
    }

    /// Puts an image that is there on top and opens it for reading.
    public func pushBelow(_ disk: SimDisk) async throws {
        disks.append(disk)
        try await open(top, readOnly: true)
    }

    /// Puts other bytes in the place of a closed image.
    public func replace(_ index: Int, with contents: SparseBytes) { disks[index] = disk(contents) }

    public func open(_ index: Int, readOnly: Bool) async throws {
        let file = BlockIO(context: context, driver: .storage(disks[index]))
        let data = dataDisks[index].map { BlockIO(context: context, driver: .storage($0)) }
        let cluster = shape.clusterSize
        let image = try await Qcow2Image.open(
            file: file,
            options: Options(
                isReadOnly: readOnly, l2CacheSize: shape.tinyCaches ? cluster * 2 : nil,
                refcountCacheSize: shape.tinyCaches ? cluster * 4 : nil)
        ) { (_) async throws(OpenError) in data }
        let io = BlockIO(
            context: context, driver: .format(image), file: file, data: data,
            backing: index == 0 ? baseWalker() : io(index - 1),
            options: .init(detectZeroes: shape.detectZeroes, isReadOnly: readOnly),
            tracker: image.bitmaps.all.isEmpty && !tracksBitmaps ? nil : image.bitmaps)
        open[index] = (image, io, readOnly ? io : filtered(io))
    }

    private func filtered(_ io: BlockIO) -> BlockIO {
        switch shape.filter {
        case .none: io
        case .compress: BlockIO(context: context, driver: .storage(CompressFilter(io)))
        case .copyOnRead: BlockIO(context: context, driver: .storage(CopyOnReadFilter(io)))
        }
    }

    private func baseWalker() -> BlockIO? {
        base.map { BlockIO(context: context, driver: .storage($0), options: .init(isReadOnly: true)) }
    }

    /// Flushes and closes an image.
    public func close(_ index: Int) async throws {
        guard let (image, io, front) = open[index] else { return }
        await front.pause()
        await io.pause()
        do {
            // What amended an image may have ended it.
            if !io.options.isReadOnly, image.writeRefusal != .closed { try await io.finish() }
        } catch {
            io.resume()
            front.resume()
            throw error
        }
        try await image.close()
        open[index] = nil
    }

    /// Forgets the open images as they are.
    public func dropAll() {
        for (_, io, front) in open.values {
            front.retire()
            io.retire()
        }
        open = [:]
    }

    /// Whether requests on the top image's walker were fenced off by a failure.
    public var isFenced: Bool { open[top]?.image.isFenced ?? false }
}
