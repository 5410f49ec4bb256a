public import Block
import Bytes
import Qcow2

/// An image opened with all it stands on: to be read, or some of its layers to be written.
public final class ImageChain {
    /// From the image that was named down to what lies below all.
    let layers: [Layer]

    /// No chain is longer (docs/reliability.md, limits).
    static let limit = 256

    /// How a layer is opened; `none` ends the chain above it.
    enum Access { case none, read, write }

    /// Everything that opening needs to know.
    public struct Source {
        public let files: any ImageFiles
        public let context: any IOContext
        public let rule: BackingRule
        /// Whether others may write to the files meanwhile.
        public let forceShare: Bool
        /// Called with each file that is opened because an image names it: what it is, and its path.
        public let announce: (String) -> Void

        public init(
            files: any ImageFiles, context: any IOContext, rule: BackingRule, forceShare: Bool = false,
            announce: @escaping (String) -> Void = { _ in }
        ) {
            self.files = files
            self.context = context
            self.rule = rule
            self.forceShare = forceShare
            self.announce = announce
        }
    }

    private init(layers: [Layer]) { self.layers = layers }

    /// Opens the image at `path`, read-only. `format` nil means: by its magic, which harms nobody while nothing is
    /// written. On failure everything is closed again.
    /// `below` is the folder that the image must lie in, where it was not named by the user.
    public static func open(_ path: String, format: String?, _ source: Source, below: String? = nil)
        async throws(ImageError) -> ImageChain
    {
        do throws(OpenError) { return try await open((path, format, below), source) { _ in .read } } catch {
            throw ImageError.couldNotOpen(path, error)
        }
    }

    /// The same, `access` saying how each layer is opened: the named image is 0, what it stands on 1.
    static func open(
        _ first: (path: String, format: String?, folder: String?), _ source: Source, _ access: (Int) -> Access
    ) async throws(OpenError) -> ImageChain {
        var parts: [Parts] = []
        do throws(OpenError) {
            try await openLayers(first, source, access, &parts)
        } catch {
            await close(parts)
            throw error
        }
        var layers: [Layer] = []
        for part in parts.reversed() {
            layers.append(Layer(parts: part, walker: walker(of: part, over: layers.last?.walker, source.context)))
        }
        return ImageChain(layers: layers.reversed())
    }

    /// The walker of the image that was named.
    public var top: any Storage { layers[0].walker }

    /// The path of the file that `storage` is, as it was opened.
    public func filename(of storage: any Storage) -> String? {
        layers.lazy.map(\.parts).compactMap {
            $0.file.storage === storage ? $0.path : $0.data?.storage === storage ? $0.dataPath : nil
        }.first
    }

    /// Whether `storage` is the file of a qcow2 image and takes clearly less room than its clusters: more than a tenth,
    /// and more than two clusters less.
    func isSparse(_ storage: any Storage) -> Bool {
        guard let layer = layers.first(where: { $0.parts.file.storage === storage }), let image = layer.image,
            let allocated = layer.parts.file.allocatedBytes
        else { return false }
        let clusterSize = image.header.geometry.clusterSize
        let (real, all) = (allocated / clusterSize, image.header.geometry.clusters(for: storage.length))
        return all >= max(real + real / 9, real + 2)
    }

    /// Ends the use of all files, as they are.
    public func close() async {
        for layer in layers { layer.walker.retire() }
        await Self.close(layers.map(\.parts))
    }

    /// Ends a layer that was written: all of it is durable then, the bitmaps too.
    func finish(_ layer: Layer) async throws(BlockError) {
        try await layer.walker.finish()
        try await layer.image?.close()
    }

    private static func close(_ parts: [Parts]) async {
        for part in parts {
            part.fileWalker?.retire()
            part.dataWalker?.retire()
            await part.data?.close()
            await part.file.close()
        }
    }

    private static func walker(of parts: Parts, over backing: BlockIO?, _ context: any IOContext) -> BlockIO {
        BlockIO(
            context: context, driver: parts.image.map { .format($0) } ?? .storage(parts.file.storage),
            file: parts.image == nil ? nil : parts.fileWalker ?? parts.file.storage,
            data: parts.dataWalker ?? parts.data?.storage, backing: backing,
            options: BlockIO.Options(isReadOnly: !parts.isWritable),
            tracker: parts.isWritable ? parts.image?.bitmaps : nil)
    }
}
