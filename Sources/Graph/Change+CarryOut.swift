import Block
import DirtyMap
import Filters
import Qcow2

/// What a change does to the nodes that stay: worked out before anything is touched.
private struct Swap {
    /// Existing nodes that differ, children first.
    var changed: [NodeID] = []
    /// Those, the new ones, and all above them, children first: they get new walkers.
    var affected: [NodeID] = []
    /// Nodes that nobody holds any more, parents first.
    var released: [NodeID] = []
    /// Nodes whose walkers rest meanwhile, parents first: those released, and those affected.
    var paused: [NodeID] { released + affected.reversed() }
    /// Users that must wait meanwhile.
    var drained: [BlockRoot] = []
    var reopens: [(id: NodeID, file: any HostFile, reopen: any HostFileReopen)] = []
    var drivers: [NodeID: LiveNode.Driver] = [:]
    var walkers: [NodeID: BlockIO] = [:]
    /// Ways back, last first.
    var undo: [() async -> Void] = []
}

extension Graph {
    /// Prepares, swaps and releases. Throws with the graph as it was.
    func carryOut(_ change: Change) async throws(OpenError) {
        change.value.dropUnused()
        try change.value.checkDepth()
        _ = try change.value.threads()
        try change.lockFiles()
        var swap = survey(change)
        for root in swap.drained { root.beginDrain() }
        await settle(swap.drained)
        // What walkers do by themselves, no root knows of.
        for id in swap.paused { await live[id]?.walker.pause() }
        do throws(OpenError) {
            try await prepare(change, &swap)
            try change.bitmaps.confirm()
            try await change.bitmaps.removeStored()
            try change.confirm()
            try change.bitmaps.confirm()
        } catch {
            for step in swap.undo.reversed() { await step() }
            for id in swap.paused { live[id]?.walker.resume() }
            for root in swap.drained { root.resume() }
            throw error
        }
        let released = carryOut(change, swap)
        for root in swap.drained { root.resume() }
        for (name, node) in released { await close(node, name) }
        releaseLocks()
    }

    /// Compares the value as planned with the graph as it is.
    private func survey(_ change: Change) -> Swap {
        var swap = Swap()
        let planned = change.value
        var changed = Set<NodeID>()
        let (oldFlags, newFlags) = (value.allFlags(), planned.allFlags())
        for (id, node) in planned.nodes {
            guard let old = value.nodes[id] else {
                // Opened by this change, and already something else than it was opened as: an overlay with one on top.
                if let flags = change.openedFlags[id], flags != newFlags[id] { changed.insert(id) }
                continue
            }
            if old.edges != node.edges || old.driver != node.driver || oldFlags[id] != newFlags[id]
                || old.isTracked != node.isTracked
            {
                changed.insert(id)
            }
        }
        let seeds = changed.union(change.opened.keys.filter { planned.nodes[$0] != nil }).union(
            change.snapshots.map(\.node))
        let above = planned.ancestors(of: seeds)
        let childrenFirst = Array(planned.topDown().reversed())
        swap.changed = childrenFirst.filter { changed.contains($0) }
        swap.affected = childrenFirst.filter { above.contains($0) }
        // Opened and unused again: an overlay that nothing holds.
        for id in change.before.topDown() where planned.nodes[id] == nil { swap.released.append(id) }
        for id in roots.keys.sorted() {
            guard let root = roots[id], let old = value.roots[id] else { continue }
            if above.contains(old.node) || planned.roots[id]?.node != old.node { swap.drained.append(root) }
        }
        return swap
    }

    /// Everything that can fail: affected nodes are flushed, files and images reopened, walkers made.
    private func prepare(_ change: Change, _ swap: inout Swap) async throws(OpenError) {
        for id in swap.affected.reversed() {
            guard let walker = live[id]?.walker, !walker.options.isReadOnly else { continue }
            do { try await walker.flush() } catch {
                guard swap.changed.contains(id), let text = change.flushFailure else { continue }
                throw OpenError(text, cause: error)
            }
        }
        for snapshot in change.snapshots { swap.undo.append(try await makeSnapshot(snapshot)) }
        for id in swap.changed { try await prepareFile(id, change, &swap) }
        for id in swap.changed { try await quiesceImage(id, change, &swap) }
        for (id, file, reopen) in swap.reopens {
            reopen.commit()
            let spec = fileSpec(of: id, in: value)
            let observer = self.observer
            swap.undo.append {
                do throws(OpenError) {
                    guard let spec else { return }
                    try await file.prepareReopen(spec).commit()
                } catch { observer.onWarning(error.message) }
            }
        }
        for id in swap.affected { try await prepareWalker(id, change, &swap) }
    }

    private func prepareFile(_ id: NodeID, _ change: Change, _ swap: inout Swap) async throws(OpenError) {
        guard let file = change.live(id)?.host, let spec = fileSpec(of: id, in: change.value),
            spec != fileSpec(of: id, in: value)
        else { return }
        do {
            let reopen = try await file.prepareReopen(spec)
            swap.undo.append { reopen.cancel() }
            swap.reopens.append((id, file, reopen))
            guard reopen.isReadOnly, !spec.isReadOnly else { return }
            // It fell back again; whoever writes to it must not go on.
            change.value.nodes[id]?.fellBack = true
            _ = try change.value.permissions(before: value)
        } catch {
            if change.toleratesWritableFiles, spec.isReadOnly { return }
            throw error
        }
    }

    /// Images that shall be read-only, or are opened anew, write back what they have.
    private func quiesceImage(_ id: NodeID, _ change: Change, _ swap: inout Swap) async throws(OpenError) {
        if case .preallocate(let state)? = change.live(id)?.driver {
            // Whatever it becomes, it begins anew at the end of its data.
            do { try await state.end() } catch { throw OpenError(error.sentence, cause: error) }
        }
        guard let image = change.live(id)?.image, !image.isReadOnly else { return }
        guard change.value.flags(of: id).isReadOnly || needsNewImage(id, change) else { return }
        do {
            // The walker punches what the image frees as it ends; whether all was written back, the image tells.
            try? await live[id]?.walker.finish()
            try await image.setReadOnly(true)
        } catch {
            throw OpenError(change.flushFailure ?? error.message, cause: error.cause)
        }
        let observer = self.observer
        let name = change.value.name(of: id)
        swap.undo.append {
            do throws(OpenError) { try await image.setReadOnly(false) } catch {
                observer.onWarning("\(name): \(error.message)")
            }
        }
    }

    /// Whether a changed image is opened anew: to be written, with other options, or on another file.
    private func needsNewImage(_ id: NodeID, _ change: Change) -> Bool {
        guard let old = value.nodes[id], let new = change.value.nodes[id] else { return false }
        if old.edge("file") != new.edge("file") || old.edge("data-file") != new.edge("data-file") { return true }
        if case .qcow2(let before) = old.driver, case .qcow2(let after) = new.driver {
            let readOnly = change.value.flags(of: id).isReadOnly
            if !before.hasSameImageOptions(as: after) { return true }
            return value.flags(of: id).isReadOnly && !readOnly
        }
        return old.driver != new.driver
    }

    /// Makes a node's new walker, and its new image where it needs one.
    private func prepareWalker(_ id: NodeID, _ change: Change, _ swap: inout Swap) async throws(OpenError) {
        guard let node = change.value.nodes[id], let current = change.live(id) else { return }
        let flags = change.value.flags(of: id)
        var driver = current.driver
        if value.nodes[id] != nil, needsNewImage(id, change) {
            guard let file = node.edge("file").flatMap({ swap.walkers[$0.child] ?? change.live($0.child)?.walker })
            else { throw OpenError("Node '\(node.name)' has no file") }
            switch node.driver {
            case .raw(let options): driver = .raw(try RawFormat(options, on: file))
            case .qcow2(let options):
                let image = try await Qcow2Image.open(
                    file: file, options: options.imageOptions(isReadOnly: flags.isReadOnly),
                    observer: imageObserver(for: node.name), pace: pace, memory: bitmapMemory
                ) { (_) async throws(OpenError) in
                    node.edge("data-file").flatMap { swap.walkers[$0.child] ?? change.live($0.child)?.walker }
                }
                swap.undo.append { try? await image.close() }
                driver = .qcow2(image)
                // Another program may have made some meanwhile.
                if !image.bitmaps.all.isEmpty { change.value.nodes[id]?.isTracked = true }
            case .throttle(let options): driver = .throttle(ThrottleMember(of: try throttleGroup(options.group)))
            case .preallocate(let options): driver = .preallocate(PreallocateState(options.room))
            case .file, .hostDevice, .nullCo, .nullAio, .nbd, .blkdebug, .copyOnRead, .compress: break
            }
        }
        let walkers = swap.walkers
        swap.drivers[id] = driver
        swap.walkers[id] = makeWalker(
            driver, change.value.nodes[id] ?? node, flags, current.bitmaps,
            child: { walkers[$0] ?? change.live($0)?.walker },
            host: { change.live($0)?.host })
    }

    /// The swap itself: nothing here waits or fails. Answers what nobody uses any more.
    private func carryOut(_ change: Change, _ swap: Swap) -> [(String, LiveNode)] {
        var released: [(String, LiveNode)] = []
        for id in swap.released {
            if let node = live.removeValue(forKey: id) { released.append((value.name(of: id), node)) }
        }
        // Opened, but nothing of the planned value holds it.
        let stray = change.opened.filter { change.value.nodes[$0.key] == nil }.sorted { $0.key > $1.key }
        released.append(contentsOf: stray.map { ($0.value.name, $0.value) })
        for (id, node) in change.opened where change.value.nodes[id] != nil { live[id] = node }
        for id in swap.affected {
            guard let node = live[id], let walker = swap.walkers[id], let driver = swap.drivers[id] else { continue }
            node.walker = walker
            if case .qcow2(let image) = driver, image !== node.image {
                node.bitmaps.replace(with: image.bitmaps.all)
                image.adopt(node.bitmaps)
            }
            node.driver = driver
        }
        value = change.value
        granted = change.permissions
        for id in swap.affected {
            guard let node = live[id], let planned = value.nodes[id] else { continue }
            rebind(node.driver, planned, child: { self.live[$0]?.walker }, host: { self.live[$0]?.host })
        }
        // What the old walkers had not committed yet is the new ones' to commit.
        for id in swap.affected { live[id]?.walker.resume() }
        for (id, root) in change.newRoots { roots[id] = root }
        for id in Array(roots.keys) {
            guard let planned = value.roots[id] else {
                // What waits for the swap belongs to what was there before, and is refused.
                roots.removeValue(forKey: id)?.close()
                continue
            }
            guard let root = roots[id], let walker = live[planned.node]?.walker else { continue }
            if swap.drained.contains(where: { $0 === root }) || change.newRoots[id] != nil {
                root.retarget(walker, nodeName: value.name(of: planned.node))
            }
        }
        for step in change.bitmaps.steps { step() }
        change.onSwap()
        return released
    }
}

extension Qcow2Options {
    /// Whether an open image serves both.
    func hasSameImageOptions(as other: Qcow2Options) -> Bool {
        cacheSize == other.cacheSize && l2CacheSize == other.l2CacheSize
            && l2CacheEntrySize == other.l2CacheEntrySize && refcountCacheSize == other.refcountCacheSize
    }
}
