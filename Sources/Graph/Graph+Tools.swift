public import Block
public import Qcow2

// What programs ask that open images themselves.
extension Graph {
    /// Something that a node's block status may name as the holder of bytes.
    public struct Holder {
        public let storage: any Storage
        /// What it is called as a file.
        public let filename: String
        /// Bytes that it takes on the host, where that is known.
        public let allocatedSize: UInt64?
        /// Of a qcow2 image's own file: the image.
        public let image: Qcow2Image?
    }

    /// All that may hold bytes of a node, in no order: what status names is a node's walker, or of a file itself the file.
    public func holders(below name: String) -> [Holder] {
        guard let top = value.find(name) else { return [] }
        let names = FilenameTable(value)
        var found: [NodeID: [Holder]] = [:]
        var pending: [(id: NodeID, image: Qcow2Image?)] = [(top, nil)]
        while let next = pending.popLast() {
            guard found[next.id] == nil, let node = value.nodes[next.id], let here = live[next.id] else { continue }
            var storages: [any Storage] = [here.walker]
            if let host = here.host { storages.append(host) }
            let filename = names.filename(of: next.id)
            found[next.id] = storages.map {
                Holder(
                    storage: $0, filename: filename, allocatedSize: here.host?.allocatedSize,
                    image: next.image)
            }
            pending += node.edges.map { ($0.child, $0.role == .image ? here.image : nil) }
        }
        return found.values.flatMap { $0 }
    }

    /// One image of a chain.
    public struct Layer {
        public let nodeName: String
        /// What it is called as a file.
        public let filename: String
        public let driver: String
        public let walker: BlockIO
        /// Where it is qcow2.
        public let image: Qcow2Image?
        public let isReadOnly: Bool
        /// Of the host file that holds its own data.
        public let identity: HostFileIdentity?
    }

    /// A node and all it stands on, filters left out.
    public func chain(below name: String) -> [Layer] {
        let names = FilenameTable(value)
        var layers: [Layer] = []
        var next = value.find(name)
        while let id = next, let node = value.nodes[id], let here = live[id] {
            next = node.driver.isFilter ? node.base : node.backing
            if node.driver.isFilter { continue }
            layers.append(
                Layer(
                    nodeName: node.name, filename: names.filename(of: id), driver: node.driver.name,
                    walker: here.walker, image: here.image, isReadOnly: value.flags(of: id).isReadOnly,
                    identity: hostFile(of: node.name)?.identity))
        }
        return layers
    }

    /// Lets a node be written, or no longer, and with it the file that is defined inside it.
    public func setReadOnly(_ name: String, _ isReadOnly: Bool) async throws(OpenError) {
        try await change { (change: Change) throws(OpenError) in
            let id = try change.value.lookUp(device: nil, nodeName: name)
            change.value.nodes[id]?.common.isReadOnly = isReadOnly
            if !isReadOnly { change.value.nodes[id]?.common.discard = .unmap }
        }
    }

    /// The host file that holds a node's own data, filters and formats passed; nil where there is none.
    public func hostFile(of name: String) -> (any HostFile)? {
        var next = value.find(name)
        while let id = next {
            if let host = live[id]?.host { return host }
            next = value.nodes[id]?.base
        }
        return nil
    }

    /// The format's state of a node that is a qcow2 image.
    public func qcow2Image(of name: String) -> Qcow2Image? { value.find(name).flatMap { live[$0]?.image } }
}
