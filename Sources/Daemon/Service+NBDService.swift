import Block
import DirtyMap
import Graph
import HostIO
import Image
import NBDServer
import Qcow2
import QMPTypes

// One image for NBD clients, without a monitor.
extension Service {
    /// Opens the image, makes its export and listens.
    func serve(_ wanted: NBDService, _ warn: @escaping (String) -> Void) async throws(OpenError) {
        do throws(QMPError) {
            for text in wanted.objects { try await carryOut(DaemonOption(.object, text)) }
        } catch { throw OpenError(error.message) }
        let secure = try wanted.tlsCredentials.map { (id) throws(OpenError) in
            do throws(OpenError) { return try host.tls.server(id, authorisation: wanted.tlsAuthorisation) } catch {
                throw error.within("Failed to get TLS creds")
            }
        }
        let source = try await open(wanted, warn)
        var limits = NBDServer.Limits()
        limits.connections = max(1, host.descriptorLimit / 4 * 3)
        let server = NBDServer(context: context, limits: limits, budget: budget)
        let isWritable = source.root.used.contains(.write)
        var bitmaps: [DirtyBitmap] = []
        for name in wanted.bitmaps {
            bitmaps.append(
                try graph.bitmap(BitmapSource(name: name), exportedFrom: source.root.nodeName, isWritable: isWritable))
        }
        for bitmap in bitmaps { bitmap.begin() }
        let export = NBDExport(
            id: "nbd", name: wanted.name, description: wanted.description, storage: source.disk,
            isWritable: isWritable, isMultiConn: wanted.clients != 1, bitmaps: bitmaps, offersDepth: wanted.offersDepth)
        server.add(export)
        nbd = server
        exports.append(Export(id: export.id, kind: .nbd(export, server), sources: [.node(source.root)]))
        let listener = try listen(on: wanted.address)
        nbdListener = listener
        context.spawn { await self.accept(wanted, listener, server, secure) }
    }

    /// What the export sends its clients' requests to.
    private func open(_ wanted: NBDService, _ warn: @escaping (String) -> Void) async throws(OpenError)
        -> (root: BlockRoot, disk: any Storage)
    {
        let opener = ImageOpener(graph, host, on: context, asQEMU: configuration.actsAsQEMU, warn: warn)
        let name = wanted.image.filename ?? wanted.image.options.text
        let isReadOnly = wanted.image.isReadOnly && !wanted.image.isSnapshot
        let image: ImageOpener.Opened
        do throws(OpenError) { image = try await opener.open(wanted.image) } catch {
            throw error.within("Failed to \(configuration.actsAsQEMU ? "blk_new_open" : "open") '\(name)'")
        }
        if let snapshot = wanted.image.internalSnapshot {
            do throws(OpenError) { try await show(snapshot, in: image.node) } catch {
                throw error.within("Failed to load snapshot")
            }
        }
        var node = image.node
        if wanted.offset > 0 {
            let part = RawOptions(file: .node(node), offset: wanted.offset)
            node = try await graph.open(NodeOptions(.raw(part), common: CommonOptions(isReadOnly: isReadOnly)))
        }
        let root = try await graph.attach(
            "nbd", to: node, used: isReadOnly ? .consistentRead : [.consistentRead, .write],
            // NBD cannot tell its clients of another size.
            shared: [.consistentRead, .write, .writeUnchanged])
        root.writesThrough = wanted.image.cache.writesThrough
        return (root, image.isGuessedRaw && wanted.offset == 0 ? GuessedDisk(root) : root)
    }

    /// Shows an internal snapshot in the place of the disk: by its id, else by its name, or by what both are said to be.
    private func show(_ wanted: String, in node: String) async throws(OpenError) {
        guard let image = graph.qcow2Image(of: node) else {
            let format = graph.node(node)?.driver ?? ""
            throw OpenError(
                "Block format '\(format)' used by device '' does not support temporarily loading internal snapshots")
        }
        guard graph.node(node)?.isReadOnly == true else { throw OpenError("a snapshot is served to be read only") }
        let (id, name) = (OptionList(wanted)["snapshot.id"], OptionList(wanted)["snapshot.name"])
        let found =
            id == nil && name == nil
            ? image.snapshots.first { $0.id == wanted } ?? image.snapshots.first { $0.name == wanted }
            : image.snapshots.first { ($0.id == id || id == nil) && ($0.name == name || name == nil) }
        guard let found else { throw OpenError("Can't find snapshot") }
        try await image.show(found)
    }

    /// Lets clients in, no more at a time than are wanted, until the listener is closed or the last of them has gone.
    private func accept(
        _ wanted: NBDService, _ listener: any StreamListener, _ server: NBDServer,
        _ secure: ((any ByteStream) -> any ByteStream)?
    ) async {
        var connected = 0
        let left = WaitQueue()
        await acceptAll(from: listener) { connection in
            connected += 1
            context.spawn { [self] in
                let hasChosen = await server.serve(secure.map { $0(connection) } ?? connection)
                connected -= 1
                left.wakeAll()
                // A client that did not get as far as an export is no client.
                if hasChosen, connected == 0, !wanted.isPersistent { beginQuit() }
            }
            while wanted.clients > 0, connected >= wanted.clients { await left.wait() }
        }
    }
}
