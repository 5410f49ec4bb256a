import Block
import Graph
import Bytes
import Qcow2

extension ImageTool {
    /// `create`: makes an image. All that can be wrong with the options is found before a file is touched.
    public func create(_ request: CreateRequest, quiet: Bool) async throws(ImageError) {
        let path = request.path
        let place: NewPlace
        do { place = try self.place(ofNew: path) } catch { throw ImageError("\(path): \(error.text)") }
        var size = request.size
        if let backing = request.backingFile, request.checksBacking {
            let backingSize = try await sizeOfBacking(backing, request)
            guard request.backingFormat != nil else {
                throw ImageError(
                    """
                    \(path): Backing file specified without backing format
                    Detected format of \(backingSize.format).
                    """)
            }
            if size == nil { size = backingSize.bytes }
        }
        guard let size else { throw ImageError("\(path): Image creation needs a size parameter") }
        if !quiet {
            output(request.formattingLine(size: size) + "\n")
            showOutput()
        }
        switch request.kind {
        case .raw: try await createRaw(request, in: place, size: size)
        case .qcow2: try await createQcow2(request, in: place, size: size)
        }
    }

    /// The user named the backing file, so it is opened wherever it lies; what it names itself is not looked at.
    private func sizeOfBacking(_ name: String, _ request: CreateRequest) async throws(ImageError)
        -> (bytes: UInt64, format: String)
    {
        do throws(OpenError) {
            guard PathText.protocolName(name) == nil else { throw OpenError("'\(name)' is not a plain file name") }
            let path = PathText.combine(request.path, name)
            let info = try await read(try await openFile(ImageReference(path, format: request.backingFormat)))
            return (info.virtualSize, info.format)
        } catch {
            throw ImageError("\(request.path): \(error.text)\nCould not open backing image.")
        }
    }

    private func createQcow2(_ request: CreateRequest, in place: NewPlace, size: UInt64) async throws(ImageError) {
        let options = try request.qcow2Options(size: size)
        let attributes = try request.fileAttributes()
        do throws(OpenError) {
            try options.validate()
            // The image's own file first: where that cannot be had, the one for its data stays what it is.
            let made = try await makeFile(place, attributes)
            var data: NewFile?
            do throws(OpenError) {
                data = try await createData(options, of: place.path ?? request.path)
                try await Qcow2Create.create(on: made.file.storage, data: data?.file.storage, options)
            } catch {
                await data?.abandon()
                await made.abandon()
                throw error
            }
            await data?.file.close()
            await made.file.close()
        } catch {
            throw ImageError("\(request.path): \(error.text)")
        }
    }

    /// Makes the file for the image's data, where that is to lie apart; what it held before is lost.
    private func createData(_ options: CreateOptions, of image: String) async throws(OpenError) -> NewFile? {
        guard let name = options.dataFile else { return nil }
        let path = try BackingName.resolveData(name, of: image, rule).path
        guard path != image else {
            throw OpenError("Error: Trying to create an image with the same filename as its data file")
        }
        return try await makeFile(.file(path), FileAttributes())
    }

    private func createRaw(_ request: CreateRequest, in place: NewPlace, size: UInt64) async throws(ImageError) {
        guard let size = size.roundedUpToSector else {
            throw ImageError("Invalid image size specified. Must be between 0 and \(Int64.max).")
        }
        let preallocation: Preallocation
        do { preallocation = try request.rawPreallocation() } catch {
            throw ImageError("\(request.path): \(error.message)")
        }
        let attributes = try request.fileAttributes()
        do throws(OpenError) {
            let made = try await makeFile(place, attributes, raw: RawDisk(size: size, preallocation: preallocation))
            // An export is as large as it is.
            guard place.path != nil else { return await made.file.close() }
            do throws(OpenError) { try await fill(made.file.storage, size, preallocation) } catch {
                await made.abandon()
                throw error
            }
            await made.file.close()
        } catch {
            throw ImageError("\(request.path): \(error.text)")
        }
    }

    private func fill(_ storage: BlockRoot, _ size: UInt64, _ preallocation: Preallocation) async throws(OpenError) {
        do throws(BlockError) {
            // The first block is there from the start, as in what qemu-img makes: who opens the file past the page cache finds
            // out by reading it which alignment that takes.
            let block = AlignedBuffer(byteCount: 4096)
            if preallocation == .off, size > 0 { try await storage.write(at: 0, from: block.bytes, flags: []) }
            try await storage.resize(to: size)
            try await storage.occupy(ByteRange(at: 0, count: size), preallocation)
            try await storage.flush()
        } catch { throw OpenError("Could not resize file: \(error.sentence)", cause: error) }
    }
}
