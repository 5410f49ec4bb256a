import Block
import Bytes
import Graph

// How the tool makes what a new image lies in.
extension ImageTool {
    /// What a new image lies in.
    enum NewPlace {
        /// A host file or device, by its path.
        case file(String)
        /// What is there already and cannot be made: a remote export.
        case export(NodeOptions)

        /// The path, where there is one.
        var path: String? {
            guard case .file(let path) = self else { return nil }
            return path
        }
    }

    /// What a new raw image shall be; the image of a format says that itself.
    struct RawDisk {
        var size: UInt64
        var preallocation: Preallocation
    }

    /// Where an image of this name is made. Protocols other than the host's files and exports make none.
    func place(ofNew name: String) throws(OpenError) -> NewPlace {
        let scheme = PathText.protocolName(name)
        guard scheme != "json" else { throw OpenError("Unknown protocol 'json'") }
        switch try names(name, "raw", false).place {
        case .file(let path): return .file(path)
        case .storage(let options):
            if case .nbd = options.driver { return .export(options) }
            throw OpenError("Protocol driver '\(options.driver.name)' does not support image creation")
        case .node(let options):
            throw OpenError("Protocol driver '\(options.driver.name)' does not support image creation")
        }
    }

    /// Makes a file for a new image and opens it.
    func makeFile(_ place: NewPlace, _ attributes: FileAttributes, raw: RawDisk? = nil) async throws(OpenError)
        -> NewFile
    {
        switch place {
        case .export(let options):
            let file = try await openExport(options, .writeback, raw)
            return NewFile(file: file, abandon: file.close)
        case .file(let path):
            let isNew = try await files.makeFile(path, attributes)
            do throws(OpenError) {
                let file = try await openFile(ImageReference(path, format: "raw"), isWritable: true)
                return NewFile(file: file) {
                    await file.close()
                    if isNew { files.removeFile(path) }
                }
            } catch {
                if isNew { files.removeFile(path) }
                throw error
            }
        }
    }

    /// Makes a file that has its name only once it is completed, where nothing had that before.
    func begin(_ place: NewPlace, _ attributes: FileAttributes, _ cache: CacheMode, raw: RawDisk? = nil)
        async throws(OpenError) -> BegunFile
    {
        switch place {
        case .export(let options): return BegunFile(try await openExport(options, cache, raw))
        case .file(let path): return try await files.begin(path, attributes, cache)
        }
    }

    /// Opens an export for a new image, a raw one of this size where that is said. Once nothing speaks against it, what the export
    /// begins with is cleared, durably, so that nobody takes it for what it was.
    private func openExport(_ options: NodeOptions, _ cache: CacheMode, _ raw: RawDisk?) async throws(OpenError)
        -> ImageFile
    {
        if let raw, raw.preallocation != .off {
            throw OpenError("Unsupported preallocation mode '\(raw.preallocation.rawValue)'")
        }
        let name = options.driver.name
        let file: ImageFile
        do throws(OpenError) {
            let image = ImageReference(.storage(options), text: name, format: "raw", cache: cache)
            file = try await openFile(image, isWritable: true)
        } catch {
            throw error.within(
                "Protocol driver '\(name)' does not support image creation, and opening the image failed")
        }
        do throws(OpenError) {
            if let raw, raw.size > file.storage.length { throw OpenError("Cannot grow NBD nodes") }
            do throws(BlockError) { try await file.storage.clearStart() } catch {
                throw OpenError("Failed to clear the new image's first sector: \(error.sentence)", cause: error)
            }
        } catch {
            await file.close()
            throw error
        }
        return file
    }
}

extension Storage {
    /// Takes away, durably, what tells an image from a disk that never was one: its first sector.
    func clearStart() async throws(BlockError) {
        try await zero(ByteRange(at: 0, count: min(length, 512)), flags: .mayUnmap)
        try await flush()
    }
}

/// A file that was made for a new image.
struct NewFile {
    let file: ImageFile
    /// Closes it and, where it was not there before, removes it.
    let abandon: () async -> Void
}

extension BegunFile {
    /// One that was there already.
    init(_ file: ImageFile) {
        self.init(storage: file.storage, isNew: false, close: file.close)
    }
}
