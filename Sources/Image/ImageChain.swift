public import Block
import Bytes
import Qcow2

/// An image opened with all it stands on, to be read.
public final class ImageChain {
    /// The walker of the image that was named.
    public let top: any Storage
    private let layers: [Layer]

    /// No chain is longer (docs/reliability.md, limits).
    static let limit = 256

    private struct Layer {
        let path: String
        let file: ImageFile
        /// Nil for raw.
        let image: Qcow2Image?
        /// What holds the image's data, where that lies apart.
        var data: ImageFile?
        var dataPath = ""
    }

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

    private init(top: any Storage, layers: [Layer]) {
        self.top = top
        self.layers = layers
    }

    /// An image in a storage that is open already, alone.
    init(_ image: Qcow2Image, in storage: any Storage, context: any IOContext) {
        top = BlockIO(
            context: context, driver: .format(image), file: storage, options: BlockIO.Options(isReadOnly: true))
        layers = [
            Layer(
                path: "-", file: ImageFile(storage: storage, allocatedBytes: nil, identity: "-", close: {}),
                image: image)
        ]
    }

    /// Opens the image at `path`, read-only. `format` nil means: by its magic, which harms nobody while nothing is
    /// written. On failure everything is closed again.
    /// `below` is the folder that the image must lie in, where it was not named by the user.
    public static func open(_ path: String, format: String?, _ source: Source, below: String? = nil)
        async throws(ImageError) -> ImageChain
    {
        var layers: [Layer] = []
        do throws(OpenError) {
            try await openLayers((path, format, below), source, &layers)
        } catch {
            await close(layers)
            throw ImageError.couldNotOpen(path, error)
        }
        var walker: BlockIO?
        for layer in layers.reversed() {
            walker = BlockIO(
                context: source.context,
                driver: layer.image.map { .format($0) } ?? .storage(layer.file.storage),
                file: layer.image == nil ? nil : layer.file.storage, data: layer.data?.storage, backing: walker,
                options: BlockIO.Options(isReadOnly: true))
        }
        guard let walker else { throw ImageError("Could not open '\(path)'") }
        return ImageChain(top: walker, layers: layers)
    }

    /// The path of the file that `storage` is, as it was opened.
    public func filename(of storage: any Storage) -> String? {
        layers.lazy.compactMap {
            $0.file.storage === storage ? $0.path : $0.data?.storage === storage ? $0.dataPath : nil
        }.first
    }

    /// Whether `storage` is the file of a qcow2 image and takes clearly less room than its clusters: more than a tenth,
    /// and more than two clusters less.
    func isSparse(_ storage: any Storage) -> Bool {
        guard let layer = layers.first(where: { $0.file.storage === storage }), let image = layer.image,
            let allocated = layer.file.allocatedBytes
        else { return false }
        let clusterSize = image.header.geometry.clusterSize
        let (real, all) = (allocated / clusterSize, image.header.geometry.clusters(for: storage.length))
        return all >= max(real + real / 9, real + 2)
    }

    /// The file that was named, and what is in it where that is qcow2.
    var topFile: ImageFile? { layers.first?.file }
    var topImage: Qcow2Image? { layers.first?.image }

    public func close() async { await Self.close(layers) }

    private static func close(_ layers: [Layer]) async {
        for layer in layers {
            await layer.data?.close()
            await layer.file.close()
        }
    }

    private static func openLayers(
        _ first: (path: String, format: String?, folder: String?), _ source: Source, _ layers: inout [Layer]
    ) async throws(OpenError) {
        var next: (path: String, format: String?, folder: String?)? = first
        while let here = next {
            do throws(OpenError) {
                let layer = try await openLayer(here, source, layers)
                layers.append(layer)
                next = try backing(of: layer, source.rule)
                if let next { source.announce("the backing file \(next.path)") }
            } catch {
                // The image that was asked for is named by the caller.
                guard !layers.isEmpty else { throw error }
                throw OpenError("Could not open backing file: \(error.message)", cause: error.cause)
            }
        }
    }

    private static func openLayer(
        _ here: (path: String, format: String?, folder: String?), _ source: Source, _ above: [Layer]
    ) async throws(OpenError) -> Layer {
        guard above.count < limit else { throw OpenError("The backing chain is longer than \(limit) images") }
        let file = try await source.files.open(
            here.path, FileUse(forceShare: source.forceShare, below: here.folder))
        guard !above.contains(where: { $0.file.identity == file.identity }) else {
            await file.close()
            throw OpenError("'\(here.path)' stands on itself: the backing chain is a loop")
        }
        do throws(OpenError) {
            var format = here.format
            if format == nil { format = try await FormatProbe.format(of: file.storage) }
            switch format {
            case "raw": return Layer(path: here.path, file: file, image: nil)
            case "qcow2":
                return try await openImage(here.path, file, source)
            default: throw OpenError("Unknown driver '\(format ?? "")'")
            }
        } catch {
            await file.close()
            throw error
        }
    }

    /// A qcow2 image, with the file for its data that it may name.
    private static func openImage(_ path: String, _ file: ImageFile, _ source: Source) async throws(OpenError) -> Layer
    {
        var (data, dataPath) = (nil as ImageFile?, "")
        do throws(OpenError) {
            let image = try await Qcow2Image.open(
                file: file.storage, options: Options(isReadOnly: true, loadsBitmaps: false)
            ) {
                (header) async throws(OpenError) in
                guard let opened = try await source.openData(header, of: path, beside: file) else { return nil }
                (data, dataPath) = opened
                return opened.file.storage
            }
            return Layer(path: path, file: file, image: image, data: data, dataPath: dataPath)
        } catch {
            await data?.close()
            throw error
        }
    }

    /// What stands below a layer, and where it may lie.
    private static func backing(of layer: Layer, _ rule: BackingRule) throws(OpenError)
        -> (path: String, format: String?, folder: String?)?
    {
        guard let header = layer.image?.header, let name = header.backingFile else { return nil }
        return try BackingName.resolve(name, format: header.backingFormat, of: layer.path, rule)
    }
}
