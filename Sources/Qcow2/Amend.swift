public import Block
import Bytes
import DirtyMap

/// What `amend` shall change; nil leaves a thing as it is.
public struct AmendOptions: Equatable, Sendable {
    public var version: CreateOptions.Version?
    /// The disk's size in bytes.
    public var size: UInt64?
    /// These cannot be changed, only confirmed: what they name is `rebase`'s to change.
    public var backingFile: String?
    public var backingFormat: String?
    public var lazyRefcounts: Bool?
    public var refcountBits: Int?
    public var dataFile: String?
    public var dataFileIsRaw: Bool?

    public init() {}
}

/// One change of an image. Each is whole by itself: a crash leaves the image as before it or as after it.
public enum AmendStep: Equatable, Sendable {
    case upgrade
    case refcountBits(Int)
    case lazyRefcounts(Bool)
    /// The name of the file with the data, and whether that stays a raw image; nil takes the name out of the image.
    case dataFile(String?, isRaw: Bool)
    case resize(UInt64)
    case downgrade
}

extension AmendOptions {
    /// The steps that lead an image where the options say, upgrades first and downgrades last, or the refusal, in QEMU's words,
    /// before any of them.
    public func steps(for header: Header, _ snapshots: [Snapshot]) throws(OpenError) -> [AmendStep] {
        var steps: [AmendStep] = []
        let old = CreateOptions.Version(rawValue: Int(header.version)) ?? .v3
        let new = version ?? old
        try checkDataFile(header)
        try checkBacking(header)
        if old == .v2, new == .v3 { steps.append(.upgrade) }
        let bits = refcountBits ?? Int(header.geometry.refcountBits)
        guard (1...64).contains(bits), UInt64(bits).isPowerOfTwo else {
            throw invalid("Refcount width must be a power of two and may not exceed 64 bits")
        }
        if bits != Int(header.geometry.refcountBits) {
            if new == .v2, bits != 16 {
                throw invalid(
                    "Refcount widths other than 16 bits require compatibility level 1.1 or above "
                        + "(use compat=1.1 or greater)")
            }
            steps.append(.refcountBits(bits))
        }
        if header.hasDataFile, dataFile != nil || dataFileIsRaw != nil {
            let name = dataFile.map { $0.isEmpty ? nil : $0 } ?? header.dataFile
            steps.append(.dataFile(name, isRaw: dataFileIsRaw ?? header.autoclear.contains(.rawExternalData)))
        }
        if let lazyRefcounts, lazyRefcounts != header.compatible.contains(.lazyRefcounts) {
            if lazyRefcounts, new == .v2 {
                throw invalid(
                    "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")
            }
            steps.append(.lazyRefcounts(lazyRefcounts))
        }
        if let size, size != header.size { steps.append(.resize(size)) }
        if old == .v3, new == .v2 {
            try checkDowngrade(header, snapshots, refcountBits: bits)
            steps.append(.downgrade)
        }
        return steps
    }

    private func checkDataFile(_ header: Header) throws(OpenError) {
        let hasDataFile = header.incompatible.contains(.externalDataFile)
        if let dataFile, !dataFile.isEmpty, !hasDataFile {
            throw invalid("data-file can only be set for images that use an external data file")
        }
        if dataFileIsRaw == true, !header.autoclear.contains(.rawExternalData) {
            throw invalid("data-file-raw cannot be set on existing images")
        }
    }

    private func checkBacking(_ header: Header) throws(OpenError) {
        guard backingFile != nil || backingFormat != nil else { return }
        guard backingFile == header.backingFile, backingFormat == header.backingFormat else {
            throw invalid("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.")
        }
    }

    private func checkDowngrade(_ header: Header, _ snapshots: [Snapshot], refcountBits: Int) throws(OpenError) {
        if header.hasDataFile {
            throw OpenError("Cannot downgrade an image with a data file", cause: .unsupported)
        }
        // QEMU forgets them, and leaks what they hold. Without the autoclear bit an extension means nothing.
        if header.autoclear.contains(.bitmaps) {
            throw OpenError(
                "Cannot downgrade an image with bitmaps, which have to be removed first", cause: .unsupported)
        }
        let size = self.size ?? header.size
        if snapshots.contains(where: { $0.vmStateSize > UInt64(UInt32.max) || ($0.diskSize ?? size) != size }) {
            throw OpenError("Internal snapshots prevent downgrade of image", cause: .unsupported)
        }
        if refcountBits != 16 { throw OpenError("compat=0.10 requires refcount_bits=16", cause: .unsupported) }
        // Opening for writing has cleared the dirty bit. QEMU lets the one of zstd go, and with it what is compressed so.
        let features = header.incompatible.subtracting(.dirty)
        guard features.isEmpty else {
            throw OpenError(
                "Cannot downgrade an image with incompatible features \(hex(features.rawValue)) set",
                cause: .unsupported)
        }
    }

    private func invalid(_ message: String) -> OpenError { OpenError(message, cause: .invalid) }
}

extension Qcow2Image {
    /// Carries out one step but a resize, which is the walker's. No request is under way, and none may follow: the image is
    /// opened anew. `progress` is told of the share that is done.
    public func amend(_ step: AmendStep, pace: Pace = .none, progress: (Double) -> Void = { _ in })
        async throws(OpenError)
    {
        if case .refcountBits(let bits) = step { return try await changeRefcountBits(bits, pace, progress) }
        do throws(BlockError) {
            switch step {
            case .upgrade: try await upgrade(pace)
            case .lazyRefcounts(let lazy): try await setLazyRefcounts(lazy)
            case .downgrade: try await downgrade(pace)
            case .dataFile(let name, let isRaw): try await nameDataFile(name, isRaw)
            case .resize, .refcountBits: throw .invalid
            }
        } catch { throw OpenError("Could not amend the image: \(error.sentence)", cause: error) }
    }

    private func setLazyRefcounts(_ lazy: Bool) async throws(BlockError) {
        do throws(BlockError) {
            try await writeHeaderFields {
                if lazy { $0.compatible.insert(.lazyRefcounts) } else { $0.compatible.remove(.lazyRefcounts) }
            }
        } catch {
            // What the header says now is not known (O13).
            fence(error)
            throw error
        }
    }

    private func changeRefcountBits(_ bits: Int, _ pace: Pace, _ progress: (Double) -> Void) async throws(OpenError) {
        var overflow: (cluster: UInt64, count: UInt64)?
        do throws(BlockError) {
            // The image ends with the switch: what its close would store is stored before.
            try await drain()
            try await storeBitmaps()
            try await switchOver(
                refcountOrder: UInt32(bits.trailingZeroBitCount), pace: pace, onFreed: { _ in }
            ) { (next: NextImage) async throws(BlockError) in
                defer { overflow = next.refcounts.overflow }
                let total = Double(max(1, refcountTable.count { $0 != 0 }))
                var done = 0.0
                try await next.refcounts.copyAll(pace) {
                    done += 1
                    progress(done / total)
                }
            }
        } catch {
            await resumeBitmaps()
            if let overflow {
                throw OpenError(
                    "Cannot decrease refcount entry width to \(bits) bits: Cluster at offset "
                        + "\(hex(overflow.cluster << UInt64(geometry.clusterBits))) has a refcount of \(overflow.count)",
                    cause: error)
            }
            throw OpenError("Could not amend the image: \(error.sentence)", cause: error)
        }
    }

    /// What was stored for a step that failed is in use again before anybody writes (O10).
    private func resumeBitmaps() async {
        await structure.lock()
        defer { structure.unlock() }
        guard writeRefusal == nil else { return }
        do throws(BlockError) { try await markBitmapsInUse() } catch { fence(error) }
    }

    private func nameDataFile(_ name: String?, _ isRaw: Bool) async throws(BlockError) {
        var new = diskHeader
        new.extensions.removeAll { $0.type == HeaderExtension.dataFileType }
        if let name {
            new.extensions.insert(.other(type: HeaderExtension.dataFileType, data: Array(name.utf8)), at: 0)
        }
        if isRaw { new.autoclear.insert(.rawExternalData) } else { new.autoclear.remove(.rawExternalData) }
        try await replaceHeader(with: new)
    }

    /// To version 3, which demands the disk's size of each snapshot.
    private func upgrade(_ pace: Pace) async throws(BlockError) {
        if snapshots.contains(where: { $0.diskSize == nil }) {
            try await switchOver(pace: pace, onFreed: { _ in }) { (next: NextImage) async throws(BlockError) in
                let size = next.header.size
                try await next.writeSnapshots(next.snapshots.map { $0.diskSize == nil ? $0.upgraded(size: size) : $0 })
            }
        }
        var new = diskHeader
        new.version = 3
        new.refcountOrder = 4
        if new.featureNames.isEmpty, Header.hasRoomForNames(3, new.clusterBits) {
            new.extensions.append(.featureNames(FeatureName.standard))
        }
        try await replaceHeader(with: new)
    }

    /// To version 2, which knows neither features nor clusters of zeros.
    private func downgrade(_ pace: Pace) async throws(BlockError) {
        // Also those that are not stored yet.
        if bitmaps.all.contains(where: \.isPersistent) { throw .unsupported }
        try await switchOver(pace: pace, onFreed: { _ in }) { (next: NextImage) async throws(BlockError) in
            try await next.expandZeros()
        }
        var new = diskHeader
        new.version = 2
        (new.incompatible, new.compatible, new.autoclear) = ([], [], [])
        new.unknownFields = []
        new.extensions.removeAll {
            $0.type == HeaderExtension.featureNamesType || $0.type == HeaderExtension.bitmapsType
        }
        try await replaceHeader(with: new)
    }
}

extension Snapshot {
    /// The entry with the disk's size, and what else the extra data of version 3 holds.
    func upgraded(size: UInt64) -> Snapshot {
        var new = self
        new.diskSize = size
        new.stored = new.encoded
        return new
    }

    /// The entry with its L1 table at another place.
    func moved(to offset: UInt64) -> Snapshot {
        var new = self
        new.l1TableOffset = offset
        for byte in 0..<8 { new.stored[byte] = UInt8(truncatingIfNeeded: offset >> UInt64(8 * (7 - byte))) }
        return new
    }
}
