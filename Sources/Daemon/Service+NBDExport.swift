import Block
import DirtyMap
import Devices
import Graph
import HostIO
import NBDServer
import QMPTypes

// The NBD server and its exports.
extension Service {
    func startNBD(
        _ address: HostIO.SocketAddress, tlsCreds: String?, authz: String?, maxConnections: UInt32?
    ) throws(QMPError) {
        let secure = try checkNBD(tlsCreds: tlsCreds, authz: authz)
        var limits = NBDServer.Limits()
        // A quarter of the descriptors stays for images, monitors and whatever else is opened.
        limits.connections = min(limits.connections, max(1, host.descriptorLimit / 4 * 3))
        if let maxConnections, maxConnections > 0 {
            limits.connections = min(limits.connections, Int(clamping: maxConnections))
        }
        let listener: any StreamListener
        do { listener = try listen(on: address) } catch { throw QMPError(error) }
        let server = NBDServer(context: context, limits: limits, budget: budget)
        nbd = server
        nbdListener = listener
        nbdTLS = tlsCreds
        context.spawn { [context] in
            await self.acceptAll(from: listener) { connection in
                context.spawn { await server.serve(secure.map { $0(connection) } ?? connection) }
            }
        }
    }

    /// Whether a server can be started. Answers how its connections are made private.
    @discardableResult
    func checkNBD(tlsCreds: String?, authz: String?) throws(QMPError) -> ((any ByteStream) -> any ByteStream)? {
        guard nbd == nil else { throw QMPError("NBD server already running") }
        guard let tlsCreds else { return nil }
        do { return try host.tls.server(tlsCreds, authorisation: authz) } catch { throw QMPError(error) }
    }

    /// Ends the server with its exports and clients; nothing where there is none. It is out of reach at once: who stops,
    /// starts or exports meanwhile deals with another.
    func stopNBD() async {
        let server = nbd
        let ending = exports.filter { $0.type == .nbd }
        nbdListener?.close()
        nbdListener = nil
        nbdTLS = nil
        nbd = nil
        let mine = ending.filter { $0.beginRemoval() }
        for export in mine { await finishRemoval(export) }
        for export in ending { await export.waitUntilGone() }
        await server?.stop()
    }

    func nbdExport(_ arguments: BlockExportOptions, _ options: BlockExportOptionsNbd) async throws(QMPError) -> Export {
        let place = arguments.nodeName ?? ""
        // In QEMU's order: the node first, then the server.
        guard devices.device(place) != nil || graph.node(place) != nil else {
            throw QMPError("Cannot find device='' nor node-name='\(place)'")
        }
        let serving = try self.place(for: arguments)
        let isWritable = arguments.writable ?? false
        if isWritable, devices.device(place) == nil, graph.node(place)?.isReadOnly ?? false {
            throw QMPError("Cannot export read-only node as writable")
        }
        let name = options.name ?? place
        guard let server = nbd else { throw QMPError("NBD server not running") }
        guard name.utf8.count <= 4096 else { throw QMPError("export name '\(name.prefix(64))' too long") }
        if let description = options.description, description.utf8.count > 4096 {
            throw QMPError("description '\(description.prefix(64))' too long")
        }
        guard server.export(named: name) == nil, !exportsUnderWay.names.contains(name) else {
            throw QMPError("NBD server already has export named '\(name)'")
        }
        // Taken before the node is waited for, so that nobody else takes it meanwhile.
        exportsUnderWay.names.insert(name)
        defer { exportsUnderWay.names.remove(name) }
        // NBD knows no media: those who saw the last one are disconnected.
        weak var made: NBDExport?
        let shown = (options.bitmaps ?? []).map { BitmapSource($0) }
        let source = try await source(
            place, for: arguments.id, isWritable: isWritable, at: serving, showing: shown
        ) {
            if let made { server.mediumChanged(made) }
        }
        do throws(QMPError) {
            // The server may have gone while the node was attached.
            guard nbd === server else { throw QMPError("NBD server not running") }
            var executor: (any TaskExecutor)?
            if case .node(let root) = source { executor = try self.executor(of: root) }
            let bitmaps = try take(shown, of: source, isWritable: isWritable)
            let export = NBDExport(
                id: arguments.id, name: name, description: options.description, storage: source.storage,
                isWritable: isWritable, isWritethrough: arguments.writethrough ?? false, bitmaps: bitmaps,
                offersDepth: options.allocationDepth ?? false)
            export.executor = executor
            if case .device(let user) = source {
                let device = user.device
                export.access = { device.isReady ? isWritable && !device.isReadOnly ? .write : .read : .none }
            }
            made = export
            server.add(export)
            return Export(id: arguments.id, kind: .nbd(export, server), sources: [source])
        } catch {
            await release(source)
            throw error
        }
    }

    /// The bitmaps that an export offers, laid aside for it.
    private func take(_ wanted: [BitmapSource], of source: ExportSource, isWritable: Bool)
        throws(QMPError) -> [DirtyBitmap]
    {
        var found: [DirtyBitmap] = []
        for bitmap in wanted {
            do throws(OpenError) {
                found.append(
                    try graph.bitmap(bitmap, exportedFrom: source.nodeName, isWritable: isWritable))
            } catch { throw QMPError(error) }
        }
        for bitmap in found { bitmap.begin() }
        return found
    }
}
