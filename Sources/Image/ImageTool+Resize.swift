import Block
import Bytes
import Graph
import Qcow2

extension ImageTool {
    /// `resize`: gives a disk another size. What is written to must be known, not guessed: a guest writes what it likes at
    /// the start of a raw disk (R20, R25). As QEMU's program it is guessed all the same.
    public func resize(_ request: ResizeRequest, quiet: Bool) async throws(ImageError) {
        let image = request.image
        try checkFormatIsSaid(
            image, "A resize does not guess the format of '\(image.text)'", "say -f qcow2 or -f raw")
        let file: ImageFile
        do { file = try await openFile(image, isWritable: true) } catch { throw .couldNotOpen(image.text, error) }
        var failure: ImageError?
        do throws(ImageError) { try await resize(file, request) } catch { failure = error }
        await file.close()
        if let failure { throw failure }
        if !quiet { output("Image resized.\n") }
    }

    private func resize(_ file: ImageFile, _ request: ResizeRequest) async throws(ImageError) {
        let kind: ImageKind
        do { kind = try await file.readKind() } catch { throw .couldNotOpen(request.image.text, error) }
        switch kind {
        case .plain:
            if file.kind == nil { report(Self.guessed(request.image.text)) }
            if request.preallocation == .metadata { throw ImageError("Unsupported preallocation mode: metadata") }
            // Zeros are written as data where the host has no faster way.
            let walker = BlockIO(context: context, driver: .storage(file.storage))
            defer { walker.retire() }
            try await resize(walker, to: try request.size(from: walker.length), request.preallocation)
        case .qcow2:
            try await withImage(file, request.image) { (image, data) throws(ImageError) in
                try await resize(image, on: file, data, request)
            }
        }
    }

    static func guessed(_ path: String) -> String {
        """
        WARNING: Image format was not specified for '\(path)' and probing guessed raw.
                 Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
                 Specify the 'raw' format explicitly to remove the restrictions.
        """
    }

    func resize(
        _ image: Qcow2Image, on file: ImageFile, _ data: (any Storage)?, _ request: ResizeRequest
    ) async throws(ImageError) {
        let size = try request.size(from: image.length)
        if let refusal = image.resizeRefusal(size) { throw ImageError(refusal.message) }
        // What a disk gains must not show what a longer backing file holds there.
        let backing = size > image.length ? try await backing(of: image, at: file.path ?? "") : nil
        let walker = BlockIO(
            context: context, driver: .format(image), file: file.storage, data: data, backing: backing?.top)
        defer { walker.retire() }
        var failure: ImageError?
        do throws(ImageError) { try await resize(walker, to: size, request.preallocation) } catch { failure = error }
        await backing?.close()
        if let failure { throw failure }
    }

    /// What the image at `path` stands on, opened; nil where it stands on nothing.
    func backing(of image: Qcow2Image, at path: String) async throws(ImageError) -> ImageChain? {
        guard let name = image.header.backingFile else { return nil }
        let place: (path: String, format: String?, folder: String?)
        do { place = try BackingName.resolve(name, format: image.header.backingFormat, of: path, rule) } catch {
            throw .couldNotOpen(path, error.within("Could not open backing file"))
        }
        announce("the backing file \(place.path)")
        return try await open(ImageReference(place.path, format: place.format), below: place.folder)
    }

    /// Resizes, gives what the disk gained its room, and makes it durable. Where the room cannot be had, the disk has its
    /// old size again.
    private func resize(_ walker: BlockIO, to size: UInt64, _ preallocation: Preallocation) async throws(ImageError) {
        let old = walker.length
        do throws(BlockError) {
            try await walker.resize(to: size)
            if size > old {
                do throws(BlockError) {
                    try await walker.preallocate(ByteRange(from: old, to: size), preallocation)
                } catch {
                    try? await walker.resize(to: old)
                    try? await walker.cutTail()
                    throw error
                }
            } else {
                try await walker.cutTail()
            }
            try await walker.finish()
        } catch { throw ImageError("Could not resize image: \(error.sentence)") }
    }
}
