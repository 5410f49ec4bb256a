import Block
import Graph
import Bytes
import Qcow2

extension ImageTool {
    /// `create`: makes an image. All that can be wrong with the options is found before a file is touched.
    public func create(_ request: CreateRequest, quiet: Bool) async throws(ImageError) {
        let path = request.path
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
        if !quiet { output(request.formattingLine(size: size) + "\n") }
        switch request.kind {
        case .raw: try await createRaw(request, size: size)
        case .qcow2: try await createQcow2(request, size: size)
        }
    }

    /// The user named the backing file, so it is opened wherever it lies; what it names itself is not looked at.
    private func sizeOfBacking(_ name: String, _ request: CreateRequest) async throws(ImageError)
        -> (bytes: UInt64, format: String)
    {
        do throws(OpenError) {
            guard PathText.protocolName(name) == nil else { throw OpenError("'\(name)' is not a plain file name") }
            let path = PathText.combine(request.path, name)
            let file = try await files.open(path, FileUse())
            do throws(OpenError) {
                let info = try await ImageInfo.read(file, filename: path, format: request.backingFormat)
                await file.close()
                return (info.virtualSize, info.format)
            } catch {
                await file.close()
                throw error
            }
        } catch {
            throw ImageError("\(request.path): \(error.message)\nCould not open backing image.")
        }
    }

    private func createQcow2(_ request: CreateRequest, size: UInt64) async throws(ImageError) {
        let options = try request.qcow2Options(size: size)
        let attributes = try request.fileAttributes()
        do throws(OpenError) {
            try options.validate()
            let data = try await createData(options, request)
            let file: ImageFile
            do throws(OpenError) { file = try await files.create(request.path, attributes) } catch {
                await data?.abandon()
                throw error
            }
            do throws(OpenError) {
                try await Qcow2Create.create(on: file.storage, data: data?.storage, options)
                await data?.close()
                await file.close()
            } catch {
                await data?.abandon()
                await file.abandon()
                throw error
            }
        } catch {
            throw ImageError("\(request.path): \(error.message)")
        }
    }

    /// Makes the file for the image's data, where that is to lie apart; what it held before is lost.
    private func createData(_ options: CreateOptions, _ request: CreateRequest) async throws(OpenError) -> ImageFile? {
        guard let name = options.dataFile else { return nil }
        let path = try BackingName.resolveData(name, of: request.path, rule).path
        guard path != request.path else {
            throw OpenError("Error: Trying to create an image with the same filename as its data file")
        }
        return try await files.create(path, FileAttributes())
    }

    private func createRaw(_ request: CreateRequest, size: UInt64) async throws(ImageError) {
        guard let size = size.roundedUpToSector else {
            throw ImageError("Invalid image size specified. Must be between 0 and \(Int64.max).")
        }
        let preallocation: Preallocation
        do { preallocation = try request.rawPreallocation() } catch {
            throw ImageError("\(request.path): \(error.message)")
        }
        let attributes = try request.fileAttributes()
        let file: ImageFile
        do { file = try await files.create(request.path, attributes) } catch {
            throw ImageError("\(request.path): \(error.message)")
        }
        var failure: BlockError?
        do throws(BlockError) {
            try await file.storage.resize(to: size)
            try await file.storage.occupy(ByteRange(at: 0, count: size), preallocation)
            try await file.storage.flush()
        } catch { failure = error }
        if let failure {
            await file.abandon()
            throw ImageError("\(request.path): Could not resize file: \(failure.sentence)")
        }
        await file.close()
    }
}
