import Block
import DirtyMap
import Filters
import Qcow2

extension Graph {
    /// Makes a walker for a node as planned, over its children's walkers, and binds its format to them.
    func makeWalker(
        _ driver: LiveNode.Driver, _ node: NodeValue, _ flags: NodeFlags, _ bitmaps: NodeBitmaps,
        child: (NodeID) -> BlockIO?, host: (NodeID) -> (any HostFile)?
    ) -> BlockIO {
        let tracker = node.isTracked ? bitmaps : nil
        var options = BlockIO.Options(
            detectZeroes: flags.detectZeroes.walkerValue, honoursDiscard: flags.discard == .unmap,
            isReadOnly: flags.isReadOnly)
        let fileNode = node.base
        let file = fileNode.flatMap(child)
        switch driver {
        case .file(let file):
            return BlockIO(context: context, driver: .storage(file), options: options, tracker: tracker)
        case .null(let storage):
            return BlockIO(context: context, driver: .storage(storage), options: options, tracker: tracker)
        case .remote(let remote):
            return BlockIO(context: context, driver: .storage(remote), options: options, tracker: tracker)
        case .faults(let planner):
            guard let file, case .blkdebug(let debug) = node.driver else {
                preconditionFailure("a filter has one child")
            }
            return filter(FaultFilter(file, planner, on: context, pretending: debug.limits), options, tracker)
        case .throttle(let member):
            guard let file else { preconditionFailure("a filter has one child") }
            return filter(ThrottleFilter(file, member), options, tracker)
        case .copyOnRead(let bottom):
            guard let file, let top = fileNode else { preconditionFailure("a filter has one child") }
            guard let bottom else { return filter(CopyOnReadFilter(file), options, tracker) }
            let copies = CopyOnReadFilter(file) { [weak self] in self?.value.depth(of: bottom, below: top) ?? 0 }
            return filter(copies, options, tracker)
        case .compress:
            guard let file else { preconditionFailure("a filter has one child") }
            return filter(CompressFilter(file), options, tracker)
        case .preallocate(let state):
            guard let file else { preconditionFailure("a filter has one child") }
            return filter(PreallocateFilter(file, state), options, tracker)
        case .raw(let format):
            guard let file else { preconditionFailure("a format has a file") }
            return BlockIO(context: context, driver: .format(format), file: file, options: options, tracker: tracker)
        case .qcow2(let image):
            guard let file else { preconditionFailure("a format has a file") }
            if case .qcow2(let own) = node.driver {
                options.punchesFreed = own.passDiscardRequest ?? (flags.discard == .unmap)
            }
            return BlockIO(
                context: context, driver: .format(image), file: straight(file, fileNode.flatMap(host)),
                data: node.edge("data-file").flatMap { child($0.child) }, backing: node.backing.flatMap(child),
                options: options, tracker: tracker)
        }
    }

    private func filter(
        _ filter: any Storage, _ options: BlockIO.Options, _ tracker: (any ChangeTracker)?
    ) -> BlockIO {
        var options = options
        // What the filter honours is its child's to say.
        options.honoursDiscard = true
        return BlockIO(context: context, driver: .storage(filter), options: options, tracker: tracker)
    }

    /// The walker of a file, or the file itself where the walker would add nothing to what qcow2 asks of it: reads,
    /// writes and discards that need no alignment and are not tracked. Saves a layer in every request.
    func straight(_ walker: BlockIO, _ file: (any HostFile)?) -> any Storage {
        guard let file, !walker.isTracked, walker.options.honoursDiscard, walker.options.detectZeroes == .off else {
            return walker
        }
        let limits = file.limits
        return limits.requestAlignment == 1 && limits.memoryAlignment == 1 ? file : walker
    }

    /// Lets a node's format work on the child that its new walker has.
    func rebind(
        _ driver: LiveNode.Driver, _ node: NodeValue, child: (NodeID) -> BlockIO?, host: (NodeID) -> (any HostFile)?
    ) {
        guard let file = node.edge("file").flatMap({ child($0.child) }) else { return }
        switch driver {
        case .raw(let format): format.rebind(file: file)
        case .qcow2(let image):
            image.rebind(
                file: straight(file, node.edge("file").flatMap { host($0.child) }),
                data: node.edge("data-file").flatMap { child($0.child) })
            image.hasBacking = node.backing != nil || image.header.backingFileName != nil
        case .file, .null, .remote, .faults, .throttle, .copyOnRead, .compress, .preallocate: break
        }
    }

    /// What an image's reports are sent on as.
    func imageObserver(for name: String) -> Observer {
        let observer = self.observer
        return Observer(
            onCorruption: { observer.onCorruption(name, $0) }, onFence: { observer.onFence(name, $0) })
    }
}

extension CommonOptions.DetectZeroes {
    var walkerValue: BlockIO.DetectZeroes {
        switch self {
        case .off: .off
        case .on: .on
        case .unmap: .unmap
        }
    }
}

extension Qcow2Options {
    /// The options as the format takes them.
    func imageOptions(isReadOnly: Bool) -> Qcow2.Options {
        Qcow2.Options(
            isReadOnly: isReadOnly, l2CacheSize: l2CacheSize, refcountCacheSize: refcountCacheSize,
            cacheSize: cacheSize, l2CacheEntrySize: l2CacheEntrySize)
    }
}
