public import Block
public import DirtyMap

extension Graph {
    /// One command on bitmaps.
    public func bitmaps(_ action: BitmapAction) async throws(OpenError) {
        try await transaction([.bitmaps(action)])
    }

    /// A bitmap of a node or of a device's medium.
    public func bitmap(_ name: BitmapName) throws(OpenError) -> DirtyBitmap {
        guard let id = value.findDeviceOrNode(name.node), let node = live[id] else {
            throw OpenError("Node '\(name.node)' not found")
        }
        return try node.bitmaps.all.named(name.name)
    }

    /// The bitmap that an export of a node shows: of the node that is said, or else of the exported one or the first below
    /// it, through filters and backing files, that has one of the name. `isWritable` says whether the export can be written.
    public func bitmap(_ source: BitmapSource, exportedFrom node: String, isWritable: Bool) throws(OpenError)
        -> DirtyBitmap
    {
        let bitmap: DirtyBitmap
        let holder = holder(of: source, exportedFrom: node)
        if let named = source.node {
            bitmap = try self.bitmap(BitmapName(node: named, name: source.name))
        } else {
            guard let found = holder.flatMap({ live[$0]?.bitmaps.find(source.name) }) else {
                throw OpenError("Bitmap '\(source.name)' is not found")
            }
            bitmap = found
        }
        if let refusal = bitmap.refusal(of: .look) { throw refusal }
        if !isWritable, bitmap.isEnabled, let id = holder, !value.flags(of: id).isReadOnly {
            throw OpenError("Enabled bitmap '\(source.name)' incompatible with readonly export")
        }
        return bitmap
    }

    /// The node that has the bitmap which an export shows; nil where there is none.
    func holder(of source: BitmapSource, exportedFrom node: String) -> NodeID? {
        var holder = value.findDeviceOrNode(source.node ?? node)
        guard source.node == nil else { return holder }
        while let id = holder, live[id]?.bitmaps.find(source.name) == nil { holder = value.below(id) }
        return holder
    }
}

extension GraphValue {
    /// What a node shows where it holds nothing itself: a filter's child, an image's backing file.
    fileprivate func below(_ id: NodeID) -> NodeID? {
        nodes[id]?.edges.first { $0.role == .filtered || $0.role == .backing }?.child
    }

    /// The node of this name, or a device's.
    func findDeviceOrNode(_ name: String) -> NodeID? {
        do throws(OpenError) { return try lookUp(device: name, nodeName: name) } catch { return nil }
    }
}
