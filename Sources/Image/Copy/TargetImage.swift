import Block
import Bytes
import Qcow2

/// An image that a disk is written to, new or there already, open with all that its reads need.
final class TargetImage {
    let walker: BlockIO
    /// Nil for raw.
    let image: Qcow2Image?
    /// Whether it reads as zeros all over.
    let isZeroed: Bool
    /// Bytes of the disk that it stands on; nil where it stands on none.
    var backingLength: UInt64? { backing?.top.length }

    private let path: String
    private let file: BegunFile
    private let below: BlockIO
    private let data: (file: BegunFile, walker: BlockIO)?
    private let backing: ImageChain?
    private let isNew: Bool
    private let cache: CacheMode

    private init(
        _ path: String, _ file: BegunFile, below: BlockIO, _ image: Qcow2Image?, data: (BegunFile, BlockIO)?,
        backing: ImageChain?, isNew: Bool, isZeroed: Bool, _ cache: CacheMode, _ context: any IOContext
    ) {
        self.path = path
        self.file = file
        self.below = below
        self.image = image
        self.data = data
        self.backing = backing
        self.isNew = isNew
        self.isZeroed = isZeroed
        self.cache = cache
        walker =
            image.map {
                BlockIO(
                    context: context, driver: .format($0), file: below, data: data?.1, backing: backing?.top)
            } ?? below
    }

    // MARK: making

    /// Makes an image of `size` bytes. It has its name once it is finished, where nothing had that before.
    static func make(_ request: CreateRequest, size: UInt64, _ cache: CacheMode, _ tool: ImageTool)
        async throws(ImageError) -> TargetImage
    {
        switch request.kind {
        case .raw: return try await makeRaw(request, size: size, cache, tool)
        case .qcow2: return try await makeQcow2(request, size: size, cache, tool)
        }
    }

    private static func makeRaw(_ request: CreateRequest, size: UInt64, _ cache: CacheMode, _ tool: ImageTool)
        async throws(ImageError) -> TargetImage
    {
        let preallocation = try request.rawPreallocation()
        let attributes = try request.fileAttributes()
        let file: BegunFile
        do throws(OpenError) {
            let raw = ImageTool.RawDisk(size: size, preallocation: preallocation)
            file = try await tool.begin(tool.place(ofNew: request.path), attributes, cache, raw: raw)
        } catch { throw ImageError(error.message) }
        let below = BlockIO(context: tool.context, driver: .storage(file.storage))
        do throws(BlockError) {
            if file.storage.limits.growable {
                try await below.resize(to: size)
                try await below.occupy(ByteRange(at: 0, count: size), preallocation)
            } else if below.length < size {
                throw .noSpace
            }
        } catch {
            await file.abandonEmptied()
            throw ImageError("Could not resize file: \(error.sentence)")
        }
        return TargetImage(
            request.path, file, below: below, nil, data: nil, backing: nil, isNew: true,
            isZeroed: file.storage.limits.growable, cache, tool.context)
    }

    private static func makeQcow2(_ request: CreateRequest, size: UInt64, _ cache: CacheMode, _ tool: ImageTool)
        async throws(ImageError) -> TargetImage
    {
        let options = try request.qcow2Options(size: size)
        let attributes = try request.fileAttributes()
        do throws(OpenError) {
            try options.validate()
            let place = try tool.place(ofNew: request.path)
            let image = place.path ?? request.path
            // The image's own file first: where that cannot be had, the one for its data stays what it is.
            let file = try await tool.begin(place, attributes, cache)
            var data: BegunFile?
            do throws(OpenError) {
                if let name = options.dataFile {
                    let path = try BackingName.resolveData(name, of: image, tool.rule).path
                    guard path != image else {
                        throw OpenError(
                            "Error: Trying to create an image with the same filename as its data file")
                    }
                    data = try await tool.files.begin(path, FileAttributes(), cache)
                }
                return try await fill(file, data, options, image, cache, tool)
            } catch {
                await data?.abandonEmptied()
                await file.abandonEmptied()
                throw error
            }
        } catch { throw ImageError(error.message) }
    }

    /// Makes the image in its file; its data lies in another one where that is given.
    private static func fill(
        _ file: BegunFile, _ dataFile: BegunFile?, _ options: CreateOptions, _ path: String, _ cache: CacheMode,
        _ tool: ImageTool
    ) async throws(OpenError) -> TargetImage {
        let below = BlockIO(context: tool.context, driver: .storage(file.storage))
        let data = dataFile.map { ($0, BlockIO(context: tool.context, driver: .storage($0.storage))) }
        try await Qcow2Create.create(on: below, data: data?.1, options)
        let image = try await Qcow2Image.open(file: below, options: Options()) {
            (_) async throws(OpenError) in data?.1
        }
        var backing: ImageChain?
        do throws(ImageError) { backing = try await tool.backing(of: image, at: path) } catch {
            throw OpenError("Could not open '\(path)': Could not open backing file: \(error.backingReason)")
        }
        let holder = data?.0 ?? file
        return TargetImage(
            path, file, below: below, image, data: data, backing: backing, isNew: true,
            isZeroed: backing == nil && (options.preallocation == .off || holder.storage.limits.growable), cache,
            tool.context)
    }

    // MARK: opening

    /// Opens an image that is there, to be written over.
    static func open(_ reference: ImageReference, _ tool: ImageTool) async throws(ImageError) -> TargetImage {
        do throws(OpenError) {
            let file = try await tool.openFile(reference, isWritable: true)
            do throws(OpenError) {
                if try await file.readKind() == .qcow2 { return try await openQcow2(reference, file, tool) }
                return TargetImage(
                    reference.text, BegunFile(file),
                    below: BlockIO(context: tool.context, driver: .storage(file.storage)), nil, data: nil, backing: nil,
                    isNew: false, isZeroed: false, reference.cache, tool.context)
            } catch {
                await file.close()
                throw error
            }
        } catch { throw .couldNotOpen(reference.text, error) }
    }

    private static func openQcow2(_ reference: ImageReference, _ file: ImageFile, _ tool: ImageTool)
        async throws(OpenError) -> TargetImage
    {
        let below = BlockIO(context: tool.context, driver: .storage(file.storage))
        var data: (BegunFile, BlockIO)?
        do throws(OpenError) {
            let image = try await Qcow2Image.open(file: below, options: Options()) {
                (header) async throws(OpenError) in
                data = try await tool.openData(header, of: reference, beside: file, isWritable: true).map {
                    (BegunFile($0), BlockIO(context: tool.context, driver: .storage($0.storage)))
                }
                return data?.1
            }
            let backing: ImageChain?
            do throws(ImageError) { backing = try await tool.backing(of: image, at: file.path ?? "") } catch {
                throw OpenError("Could not open backing file: \(error.backingReason)")
            }
            return TargetImage(
                reference.text, BegunFile(file), below: below, image, data: data, backing: backing, isNew: false,
                isZeroed: false, reference.cache, tool.context)
        } catch {
            await data?.0.close()
            throw error
        }
    }

    // MARK: ending

    /// Writes back what is in memory and gives a new image its name. Where that fails, it is abandoned.
    func finish() async throws(ImageError) {
        do throws(OpenError) {
            do throws(BlockError) {
                if let image {
                    try await walker.finish()
                    try await image.close()
                }
                // What is unsafe does not wait for the disk: the files' own flush does nothing then.
                try await data?.walker.flush()
                try await below.flush()
            } catch { throw OpenError("Could not write '\(path)' back: \(error.sentence)") }
            try await data?.file.complete()
            try await file.complete()
        } catch {
            if isNew { await abandon() } else { await close() }
            throw ImageError(error.message)
        }
        await close()
    }

    /// Ends a target that could not be finished: a new one goes, or is emptied where the file was there before, or loses its first sector
    /// where it is a device or an export. An image that
    /// was there keeps what it was given, and closes as well as it can.
    func abandon() async {
        guard isNew else {
            if let image {
                try? await walker.finish()
                try? await image.close()
            }
            return await close()
        }
        retire()
        await backing?.close()
        await data?.file.abandonEmptied()
        // Half an image is not left where somebody takes it for a whole one.
        if !file.storage.limits.growable { try? await file.storage.clearStart() }
        await file.abandonEmptied()
    }

    private func retire() {
        walker.retire()
        data?.walker.retire()
        below.retire()
    }

    private func close() async {
        retire()
        await backing?.close()
        await data?.file.close()
        await file.close()
    }
}

extension BegunFile {
    /// Abandons it; a file that was there before is left empty. What has the length that it has, a device or an export, stays as
    /// it is.
    fileprivate func abandonEmptied() async {
        if !isNew, storage.limits.growable { try? await storage.resize(to: 0) }
        await abandon()
    }
}

extension ImageError {
    /// Why a backing file could not be opened, without its name, which the reason has too.
    fileprivate var backingReason: String {
        guard message.hasPrefix("Could not open '") else { return message }
        let parts = message.split(separator: "': ", maxSplits: 1)
        return parts.count == 2 ? String(parts[1]) : message
    }
}
