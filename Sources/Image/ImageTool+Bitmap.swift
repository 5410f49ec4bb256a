import Block
import DirtyMap
import Qcow2

extension ImageTool {
    /// `bitmap`: changes a persistent bitmap. Backing files are not opened. What is written to must be known, not guessed, as
    /// for a repair.
    public func bitmap(_ request: BitmapRequest) async throws(ImageError) {
        try checkFormatIsSaid(
            request.image, "The format of '\(request.image.text)' is not guessed",
            "say -f qcow2 if that is what it is")
        let memory = BitmapMemory()
        let target = try await open(request.image, isWritable: true, memory)
        var failure: ImageError?
        do throws(ImageError) {
            var source: OpenImage?
            if let image = request.source { source = try await open(image, isWritable: false, memory) }
            do throws(ImageError) {
                for command in request.commands {
                    try await carryOut(command, request, target.image, source.map { $0.image } ?? target.image)
                }
            } catch { failure = error }
            await source?.close()
        } catch { failure = error }
        do { try await target.image?.close() } catch {
            let text = "Could not store the bitmaps of '\(request.image.text)': \(error.sentence)"
            failure = failure ?? ImageError(text)
        }
        await target.close()
        if let failure { throw failure }
    }

    /// A file, what is in it where that is qcow2, and the file for its data where it has one.
    private struct OpenImage {
        let file: ImageFile
        var image: Qcow2Image?
        var data: ImageFile?

        func close() async {
            await data?.close()
            await file.close()
        }
    }

    private func open(_ image: ImageReference, isWritable: Bool, _ memory: BitmapMemory)
        async throws(ImageError) -> OpenImage
    {
        do throws(OpenError) {
            var opened = OpenImage(file: try await openFile(image, isWritable: isWritable))
            do throws(OpenError) {
                if try await opened.file.readKind() == .qcow2 {
                    try await openImage(&opened, image, isWritable: isWritable, memory)
                }
            } catch {
                await opened.close()
                throw error
            }
            return opened
        } catch { throw ImageError.couldNotOpen(image.text, error) }
    }

    private func openImage(
        _ opened: inout OpenImage, _ image: ImageReference, isWritable: Bool, _ memory: BitmapMemory
    ) async throws(OpenError) {
        let file = opened.file
        var data: ImageFile?
        do throws(OpenError) {
            opened.image = try await Qcow2Image.open(
                file: file.storage, options: Options(isReadOnly: !isWritable), memory: memory
            ) { (header) async throws(OpenError) in
                data = try await openData(header, of: image, beside: file, isWritable: isWritable)
                return data?.storage
            }
        } catch {
            opened.data = data
            throw error
        }
        opened.data = data
    }

    private func carryOut(
        _ command: BitmapCommand, _ request: BitmapRequest, _ image: Qcow2Image?, _ source: Qcow2Image?
    ) async throws(ImageError) {
        do throws(OpenError) { try await change(command, request, image, source) } catch {
            throw ImageError("Operation \(command.name) on bitmap \(request.name) failed: \(error.message)")
        }
    }

    private func change(
        _ command: BitmapCommand, _ request: BitmapRequest, _ image: Qcow2Image?, _ source: Qcow2Image?
    ) async throws(OpenError) {
        let known = image?.bitmaps.all ?? []
        if command == .add { return try add(request, to: image) }
        let bitmap = try known.named(request.name)
        guard let image else { return }
        switch command {
        case .add: break
        case .remove:
            if let refusal = bitmap.refusal(of: .remove) { throw refusal }
            do { try await image.removeStoredBitmap(request.name) } catch {
                throw OpenError(error.sentence, cause: error)
            }
            image.bitmaps.remove(bitmap)
        case .clear:
            if let refusal = bitmap.refusal(of: .change) { throw refusal }
            bitmap.map?.clearAll()
        case .enable, .disable:
            if let refusal = bitmap.refusal(of: .look) { throw refusal }
            image.bitmaps.setEnabled(bitmap, command == .enable)
        case .merge(let name):
            let other = try (source?.bitmaps.all ?? []).named(name)
            if let refusal = bitmap.mergeRefusal(other) { throw refusal }
            if let marks = other.map { bitmap.map?.merge(marks) }
        }
    }

    private func add(_ request: BitmapRequest, to image: Qcow2Image?) throws(OpenError) {
        if request.name.isEmpty { throw OpenError("Bitmap name cannot be empty") }
        let granularity =
            request.granularity ?? DirtyBitmap.defaultGranularity(clusterSize: image?.info.clusterSize)
        let known = image?.bitmaps.all ?? []
        try DirtyBitmap.check(request.name, granularity: granularity, beside: known)
        guard let image else {
            throw OpenError("Can't store persistent bitmaps to \(request.image.text): Operation not supported")
        }
        if let refusal = image.bitmapRefusal(request.name, granularityBits: granularity.trailingZeroBitCount) {
            throw OpenError(
                "Can't make bitmap '\(request.name)' persistent in '\(request.image.text)': \(refusal.message)",
                cause: refusal.cause)
        }
        image.bitmaps.add(
            try DirtyBitmap.make(
                request.name, granularity: granularity, length: image.length, isEnabled: true, isPersistent: true,
                beside: known, memory: image.bitmaps.memory))
    }
}
