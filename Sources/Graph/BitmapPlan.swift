import Block
import DirtyMap
import Qcow2

/// What a change does to bitmaps: which each node shall have, and the steps that make it so, taken within the swap.
struct BitmapPlan {
    /// The bitmaps of the nodes that the change touches, as they shall be.
    fileprivate var planned: [NodeID: [DirtyBitmap]] = [:]
    private(set) var steps: [() -> Void] = []
    /// Asked again right before the swap: users may have come while the change waited.
    private var uses: [(bitmap: DirtyBitmap, use: DirtyBitmap.Use)] = []

    fileprivate mutating func use(_ bitmap: DirtyBitmap, for use: DirtyBitmap.Use) throws(OpenError) {
        if let refusal = bitmap.refusal(of: use) { throw refusal }
        uses.append((bitmap, use))
    }

    /// The images whose bitmaps get marks. Asked again likewise.
    private var marked: [Qcow2Image] = []

    /// Marks come to a bitmap that may be the image's.
    fileprivate mutating func mark(_ bitmap: DirtyBitmap, of image: Qcow2Image?) throws(OpenError) {
        guard bitmap.isPersistent, let image else { return }
        if let refusal = image.bitmapsRefusal { throw refusal }
        marked.append(image)
    }

    /// What goes from the images that keep it.
    private var stored: [(image: Qcow2Image, name: String)] = []

    fileprivate mutating func forget(_ name: String, in image: Qcow2Image) { stored.append((image, name)) }

    /// Removes bitmaps from their images. Where the change fails after all, memory has them and stores them again.
    func removeStored() async throws(OpenError) {
        for (image, name) in stored {
            do { try await image.removeStoredBitmap(name) } catch {
                throw OpenError("Could not remove bitmap '\(name)' from its image: \(error.sentence)", cause: error)
            }
        }
    }

    fileprivate mutating func then(_ step: @escaping () -> Void) { steps.append(step) }

    /// Throws where something planned must not happen any more.
    func confirm() throws(OpenError) {
        for (bitmap, use) in uses {
            if let refusal = bitmap.refusal(of: use) { throw refusal }
        }
        for image in marked { if let refusal = image.bitmapsRefusal { throw refusal } }
    }
}

extension Change {
    /// Plans one command on bitmaps, on what those before it have planned.
    func plan(_ action: BitmapAction) throws(OpenError) {
        switch action {
        case .add(let request): try planAdd(request)
        case .remove(let name):
            let (id, bitmaps, bitmap) = try find(name)
            try self.bitmaps.use(bitmap, for: .remove)
            self.bitmaps.then { bitmaps.remove(bitmap) }
            if bitmap.isPersistent, let image = live(id)?.image { self.bitmaps.forget(name.name, in: image) }
            plan(id) { $0.removeAll { $0 === bitmap } }
        case .clear(let name):
            let (_, _, bitmap) = try find(name)
            try self.bitmaps.use(bitmap, for: .change)
            self.bitmaps.then { bitmap.map?.clearAll() }
        case .enable(let name): try planEnabled(name, true)
        case .disable(let name): try planEnabled(name, false)
        case .merge(let target, let sources): try planMerge(sources, into: target)
        }
    }

    private func planEnabled(_ name: BitmapName, _ isEnabled: Bool) throws(OpenError) {
        let (_, bitmaps, bitmap) = try find(name)
        try self.bitmaps.use(bitmap, for: .look)
        self.bitmaps.then { bitmaps.setEnabled(bitmap, isEnabled) }
    }

    private func planAdd(_ request: BitmapRequest) throws(OpenError) {
        let (node, name) = (request.bitmap.node, request.bitmap.name)
        if name.isEmpty { throw OpenError("Bitmap name cannot be empty") }
        let id = try value.lookUp(device: node, nodeName: node)
        guard let live = live(id) else { throw OpenError("Node '\(node)' is not open") }
        let granularity =
            request.granularity.map { UInt64($0) }
            ?? DirtyBitmap.defaultGranularity(clusterSize: live.image?.info.clusterSize)
        let known = bitmaps(of: id)
        try DirtyBitmap.check(name, granularity: granularity, beside: known)
        if request.isPersistent { try checkPersistent(name, granularity.trailingZeroBitCount, id, live) }
        let bitmap = try DirtyBitmap.make(
            name, granularity: granularity, length: live.walker.length, isEnabled: !request.isDisabled,
            isPersistent: request.isPersistent, beside: known, memory: graph.bitmapMemory)
        plan(id) { $0.insert(bitmap, at: 0) }
        bitmaps.then { live.bitmaps.add(bitmap) }
    }

    /// Whether the node can keep a bitmap.
    private func checkPersistent(
        _ name: String, _ granularityBits: Int, _ id: NodeID, _ live: LiveNode
    ) throws(OpenError) {
        let node = value.deviceOrNodeName(of: id)
        guard let image = live.image else {
            throw OpenError("Can't store persistent bitmaps to \(node): Operation not supported", cause: .unsupported)
        }
        if let refusal = image.bitmapRefusal(name, granularityBits: granularityBits) {
            throw OpenError(
                "Can't make bitmap '\(name)' persistent in '\(node)': \(refusal.message)", cause: refusal.cause)
        }
    }

    private func planMerge(_ sources: [BitmapSource], into target: BitmapName) throws(OpenError) {
        let (id, _, bitmap) = try find(target)
        try bitmaps.mark(bitmap, of: live(id)?.image)
        for source in sources {
            let (_, _, other) = try find(BitmapName(node: source.node ?? target.node, name: source.name))
            try bitmaps.use(bitmap, for: .change)
            try bitmaps.use(other, for: .look)
            if let refusal = bitmap.mergeRefusal(other) { throw refusal }
            bitmaps.then { if let marks = other.map { bitmap.map?.merge(marks) } }
        }
    }

    // MARK: Looking

    /// A bitmap as planned, with its node and what keeps the node's bitmaps.
    private func find(_ name: BitmapName) throws(OpenError) -> (NodeID, NodeBitmaps, DirtyBitmap) {
        guard let id = value.findDeviceOrNode(name.node), let live = live(id) else {
            throw OpenError("Node '\(name.node)' not found")
        }
        return (id, live.bitmaps, try bitmaps(of: id).named(name.name))
    }

    private func bitmaps(of id: NodeID) -> [DirtyBitmap] { bitmaps.planned[id] ?? live(id)?.bitmaps.all ?? [] }

    /// Changes which bitmaps a node shall have. The first one makes its walker tell of changes, the last one ends that.
    private func plan(_ id: NodeID, _ change: (inout [DirtyBitmap]) -> Void) {
        var list = bitmaps(of: id)
        change(&list)
        bitmaps.planned[id] = list
        value.nodes[id]?.isTracked = !list.isEmpty
    }
}
