import Block
import Qcow2

extension ImageChain {
    /// One image of the chain.
    struct Layer {
        let parts: Parts
        let walker: BlockIO

        var path: String { parts.path }
        /// Nil for raw.
        var image: Qcow2Image? { parts.image }
        var format: String { parts.image == nil ? "raw" : "qcow2" }
        var identity: String { parts.file.identity }
    }

    /// What a layer is made of.
    struct Parts {
        let path: String
        let file: ImageFile
        let isWritable: Bool
        /// The file's own walker where the image is written: it writes zeros as data where the host has no faster way.
        var fileWalker: BlockIO?
        /// Nil for raw.
        var image: Qcow2Image?
        /// What holds the image's data, where that lies apart.
        var data: ImageFile?
        var dataWalker: BlockIO?
        var dataPath = ""
    }

    static func openLayers(
        _ first: (path: String, format: String?, folder: String?), _ source: Source, _ access: (Int) -> Access,
        _ layers: inout [Parts]
    ) async throws(OpenError) {
        var next: (path: String, format: String?, folder: String?)? = first
        while let here = next {
            do throws(OpenError) {
                let isWritable = access(layers.count) == .write
                let layer = try await openLayer(here, source, isWritable: isWritable, layers)
                layers.append(layer)
                next = access(layers.count) == .none ? nil : try backing(of: layer, source.rule)
                if let next { source.announce("the backing file \(next.path)") }
            } catch {
                // The image that was asked for is named by the caller.
                guard !layers.isEmpty else { throw error }
                throw OpenError("Could not open backing file: \(error.message)", cause: error.cause)
            }
        }
    }

    private static func openLayer(
        _ here: (path: String, format: String?, folder: String?), _ source: Source, isWritable: Bool, _ above: [Parts]
    ) async throws(OpenError) -> Parts {
        guard above.count < limit else { throw OpenError("The backing chain is longer than \(limit) images") }
        let file = try await source.files.open(
            here.path, FileUse(isWritable: isWritable, forceShare: source.forceShare, below: here.folder))
        guard !above.contains(where: { $0.file.identity == file.identity }) else {
            await file.close()
            throw OpenError("'\(here.path)' stands on itself: the backing chain is a loop")
        }
        do throws(OpenError) {
            var format = here.format
            if format == nil { format = try await FormatProbe.format(of: file.storage) }
            let parts = Parts(path: here.path, file: file, isWritable: isWritable)
            switch format {
            case "raw": return parts
            case "qcow2": return try await openImage(parts, source)
            default: throw OpenError("Unknown driver '\(format ?? "")'")
            }
        } catch {
            await file.close()
            throw error
        }
    }

    /// A qcow2 image, with the file for its data that it may name.
    private static func openImage(_ parts: Parts, _ source: Source) async throws(OpenError) -> Parts {
        var parts = parts
        let isWritable = parts.isWritable
        if isWritable { parts.fileWalker = BlockIO(context: source.context, driver: .storage(parts.file.storage)) }
        var (data, dataPath, dataWalker) = (nil as ImageFile?, "", nil as BlockIO?)
        do throws(OpenError) {
            parts.image = try await Qcow2Image.open(
                file: parts.fileWalker ?? parts.file.storage,
                options: Options(isReadOnly: !isWritable, loadsBitmaps: isWritable)
            ) {
                [file = parts.file, path = parts.path] (header) async throws(OpenError) in
                guard
                    let opened = try await source.openData(
                        header, of: path, beside: file, isWritable: isWritable)
                else { return nil }
                (data, dataPath) = opened
                if isWritable { dataWalker = BlockIO(context: source.context, driver: .storage(opened.file.storage)) }
                return dataWalker ?? opened.file.storage
            }
        } catch {
            await data?.close()
            throw error
        }
        (parts.data, parts.dataPath, parts.dataWalker) = (data, dataPath, dataWalker)
        return parts
    }

    /// What stands below a layer, and where it may lie.
    private static func backing(of layer: Parts, _ rule: BackingRule) throws(OpenError)
        -> (path: String, format: String?, folder: String?)?
    {
        guard let header = layer.image?.header, let name = header.backingFile else { return nil }
        return try BackingName.resolve(name, format: header.backingFormat, of: layer.path, rule)
    }
}
