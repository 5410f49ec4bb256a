import Block
import Bytes
import Digests
import Qcow2

// Standard input and output have no positions: what comes from them is read once, what goes to them stays.

extension ImageChain {
    /// A qcow2 image that comes from a pipe, read front to back. Its backing file, if it has one, is not looked for: a pipe has
    /// no folder.
    static func stream(_ pipe: any BytePipe, _ context: any IOContext) async throws(ImageError) -> ImageChain {
        let storage = PipeStorage(pipe)
        do throws(OpenError) {
            let image = try await Qcow2Image.open(
                file: storage, options: Options(isReadOnly: true, loadsBitmaps: false, isStream: true))
            if image.header.backingFile != nil {
                throw OpenError("it stands on a backing file, and a pipe has no folder where that would be")
            }
            storage.tolerance = image.header.geometry.clusterSize
            return ImageChain(image, in: storage, context: context)
        } catch {
            throw .couldNotOpen("-", error.cause == PipeStorage.isGone ? PipeStorage.wrongOrder : error)
        }
    }

    /// Shows the disk as it was at an internal snapshot of the image that was named.
    func show(_ name: ConvertRequest.SnapshotName) async throws(ImageError) {
        let list = image?.snapshots ?? []
        let found =
            switch name {
            case .either(let text): list.first { $0.id == text } ?? list.first { $0.name == text }
            case .exact(let id, let name):
                list.first {
                    (id == nil || $0.id == id) && (name == nil || $0.name == name) && !(id == nil && name == nil)
                }
            }
        guard let image else {
            throw ImageError(
                "Failed to load snapshot: Block format 'raw' used by device '' does not support temporarily loading internal "
                    + "snapshots")
        }
        guard let found else { throw ImageError("Failed to load snapshot: Can't find snapshot") }
        do { try await image.show(found) } catch { throw ImageError("Failed to load snapshot: \(error.message)") }
    }
}

extension PipeStorage {
    static let wrongOrder = OpenError(
        "a qcow2 image is read from a pipe only where its tables stand before its data; write it to a file first")
}

extension ImageTool {
    /// Writes a disk to standard output: raw, or as a qcow2 image that is laid out from the source's map.
    func convertToPipe(
        _ request: ConvertRequest, _ source: any CopySource, _ digest: RunningHash?,
        _ progress: @escaping (Double) -> Void
    ) async throws(ImageError) {
        let creation = try request.creation(size: source.length ?? 0)
        var options = GuestCopy.Options()
        options.workers = request.workers
        options.rate = request.rate
        if creation.kind == .raw {
            return try await GuestCopy(
                context, from: source, to: PipeTarget(files.output), options, digest: digest, progress: progress
            ).run(tellsProgress: request.showsProgress)
        }
        guard let length = source.length, !source.isStream else {
            throw ImageError(
                "A qcow2 image is written to standard output only from a source that is a file: it is laid out from the "
                    + "map of all of its disk")
        }
        if creation.backingFile != nil { throw ImageError("An image on standard output has no backing file") }
        let create = try creation.qcow2Options(size: length)
        let (marks, image) = try await layOut(create, source, length)
        do throws(BlockError) {
            try await image.sendMetadata { (bytes) async throws(BlockError) in try await files.output.write(bytes) }
        } catch { throw ImageError("error while writing the image's tables: \(error.sentence)") }
        options.unit = create.clusterSize
        try await GuestCopy(
            context, from: MarkedSource(source, marks),
            to: ClusterPipeTarget(files.output, clusterSize: create.clusterSize), options, digest: digest,
            progress: progress
        ).run(tellsProgress: request.showsProgress)
    }

    private func layOut(_ options: CreateOptions, _ source: any CopySource, _ length: UInt64)
        async throws(ImageError) -> (ClusterMarks, StreamedImage)
    {
        guard var marks = ClusterMarks(length: length, clusterSize: options.clusterSize) else {
            throw ImageError(
                "The disk has more than \(ClusterMarks.most) clusters: too many to be laid out in memory; "
                    + "use larger ones (-o cluster_size)")
        }
        do { try options.validate() } catch { throw ImageError(error.message) }
        var position: UInt64 = 0
        while position < length {
            let part = try await source.run(at: position)
            if part.kind == .data { marks.mark(part.range) }
            position = part.range.end
        }
        do { return (marks, try StreamedImage(options, marks)) } catch { throw ImageError(error.message) }
    }
}
