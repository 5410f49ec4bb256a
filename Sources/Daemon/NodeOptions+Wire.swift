import Block
import Filters
import Graph
import NBDClient
import QMPTypes

// The wire's description of a node as the graph takes it.

extension NodeOptions {
    init(_ options: BlockdevOptions) throws(QMPError) {
        var common = CommonOptions(
            isReadOnly: options.readOnly, autoReadOnly: options.autoReadOnly, forceShare: options.forceShare,
            direct: options.cache?.direct, noFlush: options.cache?.noFlush)
        common.discard = options.discard.map { $0 == .unmap ? .unmap : .ignore }
        common.detectZeroes = options.detectZeroes.flatMap { .init(rawValue: $0.rawValue) }
        self.init(try DriverOptions(options), nodeName: options.nodeName, common: common)
    }
}

extension DriverOptions {
    fileprivate init(_ options: BlockdevOptions) throws(QMPError) {
        switch options.variant {
        case .file(let file): self = .file(FileDriverOptions(file))
        case .hostDevice(let file): self = .hostDevice(FileDriverOptions(file))
        case .hostCdrom(let file):
            var own = FileDriverOptions(file)
            own.isDisc = true
            self = .hostDevice(own)
        case .nullCo(let null): self = .nullCo(try NullOptions(null))
        case .nullAio(let null): self = .nullAio(try NullOptions(null))
        case .nbd(let nbd): self = .nbd(try NBDRemoteOptions(nbd))
        case .raw(let raw):
            self = .raw(
                RawOptions(
                    file: try ChildReference(raw.file),
                    offset: try raw.offset.map { offset throws(QMPError) in try unsigned(offset, "offset") },
                    size: try raw.size.map { size throws(QMPError) in try unsigned(size, "size") }))
        case .qcow2(let qcow2): self = .qcow2(try Qcow2Options(qcow2))
        case .blkdebug(let blkdebug): self = .blkdebug(try BlkdebugOptions(blkdebug))
        case .throttle(let throttle):
            self = .throttle(
                ThrottleOptions(file: try ChildReference(throttle.file), group: throttle.throttleGroup))
        case .preallocate(let own): self = .preallocate(try PreallocateOptions(own))
        case .compress(let own): self = .compress(CompressOptions(file: try ChildReference(own.file)))
        case .copyOnRead(let own):
            self = .copyOnRead(CopyOnReadOptions(file: try ChildReference(own.file), bottom: own.bottom))
        case .nothing: throw QMPError("Unknown driver '\(options.driver.rawValue)'")
        }
    }
}

func unsigned(_ value: Int64, _ name: String) throws(QMPError) -> UInt64 {
    guard let value = UInt64(exactly: value) else { throw QMPError("Parameter '\(name)' expects a size") }
    return value
}

extension PreallocateOptions {
    fileprivate init(_ options: BlockdevOptionsPreallocate) throws(QMPError) {
        self.init(file: try ChildReference(options.file))
        if let bytes = options.preallocAlign { room.align = try unsigned(bytes, "prealloc-align") }
        if let bytes = options.preallocSize { room.ahead = try unsigned(bytes, "prealloc-size") }
    }
}

extension NullOptions {
    fileprivate init(_ options: BlockdevOptionsNull) throws(QMPError) {
        self.init(
            size: try options.size.map { size throws(QMPError) in try unsigned(size, "size") },
            latencyNs: options.latencyNs, readZeroes: options.readZeroes)
    }
}

extension FileDriverOptions {
    fileprivate init(_ options: BlockdevOptionsFile) {
        self.init(
            filename: options.filename, aio: options.aio.flatMap { AIO(rawValue: $0.rawValue) },
            locking: options.locking.flatMap { Locking(rawValue: $0.rawValue) })
    }
}

extension ChildReference {
    init(_ reference: BlockdevRef) throws(QMPError) {
        switch reference {
        case .reference(let name): self = .node(name)
        case .definition(let options): self = .options(try NodeOptions(options))
        }
    }
}

extension Qcow2Options {
    fileprivate init(_ options: BlockdevOptionsQcow2) throws(QMPError) {
        self.init(file: try ChildReference(options.file))
        switch options.backing {
        case .null: backing = BackingReference.none
        case .reference(""): backing = .empty
        case .reference(let name): backing = .child(.node(name))
        case .definition(let options): backing = .child(.options(try NodeOptions(options)))
        case nil: break
        }
        dataFile = try options.dataFile.map { reference throws(QMPError) in try ChildReference(reference) }
        lazyRefcounts = options.lazyRefcounts
        passDiscardRequest = options.passDiscardRequest
        passDiscardSnapshot = options.passDiscardSnapshot
        passDiscardOther = options.passDiscardOther
        cacheSize = try options.cacheSize.map { size throws(QMPError) in try unsigned(size, "cache-size") }
        l2CacheSize = try options.l2CacheSize.map { size throws(QMPError) in try unsigned(size, "l2-cache-size") }
        l2CacheEntrySize = try options.l2CacheEntrySize.map { size throws(QMPError) in
            try unsigned(size, "l2-cache-entry-size")
        }
        refcountCacheSize = try options.refcountCacheSize.map { size throws(QMPError) in
            try unsigned(size, "refcount-cache-size")
        }
        cacheCleanInterval = try options.cacheCleanInterval.map { seconds throws(QMPError) in
            try unsigned(seconds, "cache-clean-interval")
        }
    }
}

extension QMPError {
    /// A sentence of the graph, as the monitor gives it.
    init(_ error: OpenError) { self.init(error.message, hint: error.hint) }
}
