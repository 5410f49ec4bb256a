public import Block
import Graph
import Bytes
public import Qcow2

/// An image that is open in the tool's graph, with all it stands on: to be read, or some of its layers to be written.
public final class ImageChain {
    /// How an image of the chain is opened; `none` ends the chain above it.
    enum Access { case none, read, write }

    /// The disk.
    public let top: any Storage
    /// From the image that was named down to what lies below all.
    let layers: [Graph.Layer]
    /// Nil where the image is in a storage that somebody else opened.
    private let tool: ImageTool?
    /// Users of the layers that are written, the disk's own first.
    private let roots: [BlockRoot]
    /// The nodes that the tool holds, from the top.
    private let nodes: [String]
    /// What block status may name as the holder of bytes.
    private let holders: [ObjectIdentifier: Graph.Holder]

    /// No chain is longer (docs/reliability.md, limits).
    static let limit = 256

    init(_ roots: [BlockRoot], in tool: ImageTool, nodes: [String]) {
        top = roots[0]
        self.roots = roots
        self.tool = tool
        self.nodes = nodes
        image = tool.graph.qcow2Image(of: roots[0].nodeName)
        layers = tool.graph.chain(below: roots[0].nodeName)
        holders = Dictionary(
            tool.graph.holders(below: roots[0].nodeName).map { (ObjectIdentifier($0.storage), $0) }
        ) { first, _ in first }
    }

    /// A qcow2 image in a storage that is open already, alone: one that comes from a pipe.
    init(_ image: Qcow2Image, in storage: any Storage, context: any IOContext) {
        top = BlockIO(
            context: context, driver: .format(image), file: storage, options: BlockIO.Options(isReadOnly: true))
        self.image = image
        (tool, layers, roots, nodes, holders) = (nil, [], [], [], [:])
    }

    /// The format's state, where the image is qcow2.
    public let image: Qcow2Image?

    /// What `storage` is called as a file.
    public func filename(of storage: any Storage) -> String? { holders[ObjectIdentifier(storage)]?.filename }

    /// What is known of each holder that was asked about.
    private var sparse: [ObjectIdentifier: Bool] = [:]

    /// Whether `storage` is the file of a qcow2 image and takes clearly less room than the clusters that it uses: more than
    /// a tenth, and more than two clusters less. As QEMU, it is asked once; what its refcounts cannot tell is no.
    func isSparse(_ storage: any Storage) async -> Bool {
        let id = ObjectIdentifier(storage)
        if let known = sparse[id] { return known }
        let found = await usesMoreThanItTakes(storage, holders[id])
        sparse[id] = found
        return found
    }

    private func usesMoreThanItTakes(_ storage: any Storage, _ holder: Graph.Holder?) async -> Bool {
        guard let holder, let image = holder.image, let allocated = holder.allocatedSize else { return false }
        let clusterSize = image.info.clusterSize
        let real = allocated / clusterSize
        let enough = max(real + real / 9, real + 2)
        // A file that is not as long need not be asked how much of it is used.
        guard let length = storage.length.roundedUp(to: clusterSize), length / clusterSize >= enough else {
            return false
        }
        do { return try await image.uses(clusters: enough) } catch { return false }
    }

    /// Ends the use of an image that was read.
    public func close() async {
        for root in roots { await tool?.graph.detach(root) }
        for name in nodes { await tool?.forget(name) }
    }

    /// Ends the use of an image that was written: all of it is durable then, or the error says that it is not.
    public func finish() async throws(ImageError) {
        var failure: BlockError?
        for root in roots where root.used.contains(.write) {
            do throws(BlockError) { try await root.flush() } catch { failure = failure ?? error }
        }
        let before = tool?.closing.failures.count ?? 0
        await close()
        failure = failure ?? tool?.closing.failures.dropFirst(before).first
        if let failure { throw ImageError("Could not close '\(roots.first?.name ?? "")': \(failure.sentence)") }
    }
}

/// What could not be written as nodes closed.
final class ClosingFailures {
    var failures: [BlockError] = []
}
