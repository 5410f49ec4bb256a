import Block
import Bytes
import NBDClient
import Qcow2

extension Change {
    /// What the image itself says lies below it, as far as the policy lets it be opened; nil where it says nothing. A format
    /// that the user gives counts for the one that the image states. Sets where in the file system it must lie.
    func ownBacking(of id: NodeID, _ image: Qcow2Image, as given: String?, _ place: inout OpenPlace)
        async throws(OpenError) -> NodeOptions?
    {
        guard let bytes = image.header.backingFileName, let recorded = image.header.backingFile, !bytes.isEmpty else {
            return nil
        }
        let (path, imagePath) = try own(recorded, bytes, as: "backing", of: id, &place)
        var format = given
        if format == nil { format = try await statedFormat(image, path, imagePath, place) }
        let options = try fileOptions(path, format: format ?? "raw")
        graph.observer.onBackingOpened(path, imagePath)
        return options
    }

    /// What the image itself says holds its data, as far as the policy lets it be opened; nil where it says nothing. Sets
    /// where in the file system it must lie.
    func ownDataFile(of id: NodeID, _ header: Header, _ place: inout OpenPlace) throws(OpenError) -> NodeOptions? {
        guard let bytes = header.dataFileName, let recorded = header.dataFile, !bytes.isEmpty else { return nil }
        let (path, imagePath) = try own(recorded, bytes, as: "data-file", of: id, &place)
        let own = FileDriverOptions(filename: path)
        graph.observer.onDataFileOpened(path, imagePath)
        return NodeOptions(graph.configuration.opener.isDevice(path) ? .hostDevice(own) : .file(own))
    }

    /// Where the file lies that an image names, and the image; sets where it must lie.
    private func own(_ recorded: String, _ bytes: [UInt8], as child: String, of id: NodeID, _ place: inout OpenPlace)
        throws(OpenError) -> (path: String, imagePath: String)
    {
        guard Array(recorded.utf8) == bytes, !bytes.contains(0) else {
            throw OpenError("the image's name for it is not text")
        }
        guard let imagePath = value.dataFilename(of: id) else {
            throw OpenError("'\(recorded)' cannot be found: the image that names it has no plain file name")
        }
        // QEMU looks for a data file from the process's folder, and for a backing file from the image's.
        let isFromHere = child == "data-file" && graph.configuration.backing == .qemu
        let path = try plainPath(recorded, in: isFromHere ? "" : imagePath)
        place.isImplicit = true
        place.within = try folders(for: path, namedBy: imagePath, as: child)
        return (path, imagePath)
    }

    /// What a file that a command names is opened as; without a format that is told by its content, as QEMU does.
    func options(filename: String, format: String?, _ common: CommonOptions) async throws(OpenError) -> NodeOptions {
        var path = filename
        let remote = try NBDName.parse(path)
        // An unknown format is told before a missing file.
        if let format, remote == nil || format != "nbd" { _ = try fileOptions(path, format: format) }
        if let remote { return try await self.options(remote, format: format, common) }
        if let word = PathText.protocolName(path) {
            guard word == "file" else { throw OpenError("Unknown protocol '\(word)'") }
            path.removeFirst("file:".count)
        }
        var stated = format
        if stated == nil {
            stated = try await probe(path, within: nil)
            warn(path, taken: stated, common)
        }
        var options = try fileOptions(path, format: stated ?? "raw")
        options.common = common
        return options
    }

    /// The same of a remote export.
    private func options(_ remote: NBDRemoteOptions, format: String?, _ common: CommonOptions)
        async throws(OpenError) -> NodeOptions
    {
        var stated = format
        if stated == nil {
            let storage = try await reach(remote)
            let outcome: Result<String, OpenError>
            do throws(OpenError) { outcome = .success(try await probe(storage)) } catch { outcome = .failure(error) }
            await storage.close()
            stated = try outcome.get()
            warn(remote.filename ?? remote.server.text, taken: stated, common)
        }
        let file = NodeOptions(.nbd(remote))
        var options =
            switch stated {
            case "nbd": file
            case "qcow2": NodeOptions(.qcow2(Qcow2Options(file: .options(file))))
            default: NodeOptions(.raw(RawOptions(file: .options(file))))
            }
        options.common = common
        return options
    }

    /// Says what a guess may lead to.
    private func warn(_ name: String, taken format: String?, _ common: CommonOptions) {
        guard format == "raw", common.isReadOnly != true else { return }
        graph.observer.onWarning(
            "'\(name)' has no known header and is taken to be raw; whoever writes to the disk can make it look "
                + "like another format, so name the format")
    }

    /// The path that a name inside an image means. It is never read as a protocol or as JSON, whatever it looks like.
    private func plainPath(_ name: String, in imagePath: String) throws(OpenError) -> String {
        var name = name
        if let word = PathText.protocolName(name) {
            guard graph.configuration.backing == .qemu else {
                throw OpenError("'\(name)', which '\(imagePath)' names, is not a plain file name")
            }
            guard word == "file" else { throw OpenError("Unknown protocol '\(word)'") }
            name.removeFirst("file:".count)
        }
        return PathText.combine(imagePath, name)
    }

    /// The folders that the policy confines the file to; nil: none.
    private func folders(for path: String, namedBy imagePath: String, as child: String) throws(OpenError) -> [String]? {
        let opener = graph.configuration.opener
        let allowed: [String]
        switch graph.configuration.backing {
        case .qemu: return nil
        case .sealed:
            throw OpenError(
                "'\(imagePath)' names '\(path)', and nothing allows it to be opened; name it in '\(child)'"
                    + (child == "backing" ? ", or give \"backing\": null to open the image without it" : ""))
        case .ownFolder:
            let folder = PathText.folder(of: imagePath)
            allowed = [folder.isEmpty ? "." : folder]
        case .allowed(let folders): allowed = folders
        }
        guard opener.contains(path, in: allowed) else {
            if graph.configuration.backing == .ownFolder {
                throw OpenError("'\(path)', which '\(imagePath)' names, does not lie in the image's folder or below")
            }
            throw OpenError(
                "'\(imagePath)' names '\(path)', which lies in no allowed folder; name it in '\(child)', or allow its "
                    + "folder with --allow-path")
        }
        return allowed
    }

    /// The format as the image states it. Only QEMU's rules guess one, from the content.
    private func statedFormat(_ image: Qcow2Image, _ path: String, _ imagePath: String, _ place: OpenPlace)
        async throws(OpenError) -> String
    {
        if let format = image.header.backingFormat, !format.isEmpty { return format }
        guard graph.configuration.backing == .qemu else {
            throw OpenError(
                "'\(imagePath)' does not state the format of '\(path)', and it is not guessed; name it in 'backing', or "
                    + "record it with qemu-img rebase -u -F")
        }
        return try await probe(path, within: place.within)
    }

    /// Tells a file's format by its first bytes: qcow2 or raw.
    private func probe(_ path: String, within: [String]?) async throws(OpenError) -> String {
        var flags = NodeFlags()
        flags.isReadOnly = true
        flags.forceShare = true
        let spec = FileSpec(
            FileDriverOptions(filename: path), isDevice: graph.configuration.opener.isDevice(path), flags,
            within: within)
        let file = try await graph.configuration.opener.open(spec)
        let outcome: Result<String, OpenError>
        do throws(OpenError) { outcome = .success(try await probe(file)) } catch { outcome = .failure(error) }
        await file.close()
        return try outcome.get()
    }

    private func probe(_ storage: any Storage) async throws(OpenError) -> String {
        let walker = BlockIO(context: graph.context, driver: .storage(storage), options: .init(isReadOnly: true))
        var buffer = AlignedBuffer(byteCount: Int(min(storage.length, 512)))
        do {
            var span = buffer.mutableBytes
            if span.byteCount > 0 { try await walker.read(at: 0, into: &span) }
        } catch {
            throw OpenError("Could not read image for determining its format: \(error.sentence)", cause: error)
        }
        return buffer.byteCount >= 4 && buffer.bytes.bigEndian(UInt32.self, at: 0) == Header.magic ? "qcow2" : "raw"
    }

    private func fileOptions(_ path: String, format: String) throws(OpenError) -> NodeOptions {
        let own = FileDriverOptions(filename: path)
        let isDevice = graph.configuration.opener.isDevice(path)
        let file = ChildReference.options(NodeOptions(isDevice ? .hostDevice(own) : .file(own)))
        switch format {
        case "qcow2": return NodeOptions(.qcow2(Qcow2Options(file: file)))
        case "raw": return NodeOptions(.raw(RawOptions(file: file)))
        case "file": return NodeOptions(.file(own))
        case "host_device": return NodeOptions(.hostDevice(own))
        default: throw OpenError("Unknown driver '\(format)'")
        }
    }
}
