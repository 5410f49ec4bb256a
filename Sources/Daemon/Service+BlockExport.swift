import Block
import Graph
import HostIO
import Logging
import NBDServer
import QMPTypes

/// An export as the management protocol knows it.
final class Export {
    let id: String
    let root: BlockRoot
    let nbd: NBDExport
    /// Who serves it, also while another server has taken its place.
    let server: NBDServer
    private(set) var isShuttingDown = false
    private var isGone = false
    private let gone = WaitQueue()

    init(id: String, root: BlockRoot, nbd: NBDExport, server: NBDServer) {
        self.id = id
        self.root = root
        self.nbd = nbd
        self.server = server
    }

    /// Hides the export and cuts its clients off. False where somebody did so before, whose business the rest is.
    func beginRemoval() -> Bool {
        guard !isShuttingDown else { return false }
        isShuttingDown = true
        server.close(nbd)
        return true
    }

    /// The export is gone, and its end has been told.
    func endRemoval() {
        isGone = true
        gone.wakeAll()
    }

    func waitUntilGone() async { while !isGone { await gone.wait() } }
}

// The commands of Schema/block-export.json.
extension Service {
    func nbdServerStart(_ arguments: NbdServerStartArguments) async throws(QMPError) {
        try startNBD(
            SocketAddress(arguments.addr), tlsCreds: arguments.tlsCreds, authz: arguments.tlsAuthz,
            maxConnections: arguments.maxConnections)
    }

    func startNBD(
        _ address: HostIO.SocketAddress, tlsCreds: String?, authz: String?, maxConnections: UInt32?
    ) throws(QMPError) {
        guard nbd == nil else { throw QMPError("NBD server already running") }
        if let tlsCreds { throw QMPError("No TLS credentials with id '\(tlsCreds)'") }
        if authz != nil { throw QMPError("TLS authorization is not supported without TLS credentials") }
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
        context.spawn { [context] in
            await self.acceptAll(from: listener) { connection in
                context.spawn { await server.serve(connection) }
            }
        }
    }

    /// Hands over each connection, until the listener is closed. An error that the host gives for one of them, such as a
    /// firewall's refusal, is no reason to take no others.
    func acceptAll(from listener: any StreamListener, _ serve: (any ByteStream) async -> Void) async {
        while true {
            do throws(BlockError) { await serve(try await listener.next()) } catch {
                if error == .closed { return }
                log.warning("a connection was not accepted: \(error)")
                await context.sleep(ms: Self.acceptPauseMs)
            }
        }
    }

    /// How long no connection is accepted after one could not be.
    private static var acceptPauseMs: UInt64 { 200 }

    func nbdServerStop() async throws(QMPError) {
        guard nbd != nil else { throw QMPError("NBD server not running") }
        await stopNBD()
    }

    /// Ends the server with its exports and clients; nothing where there is none. It is out of reach at once: who stops,
    /// starts or exports meanwhile deals with another.
    func stopNBD() async {
        let server = nbd
        let ending = exports
        nbdListener?.close()
        nbdListener = nil
        nbd = nil
        let mine = ending.filter { $0.beginRemoval() }
        for export in mine { await finishRemoval(export) }
        for export in ending { await export.waitUntilGone() }
        await server?.stop()
    }

    func blockExportAdd(_ arguments: BlockExportOptions) async throws(QMPError) {
        guard case .nbd(let options) = arguments.variant else { throw QMPError("Unsupported export type") }
        if let thread = arguments.iothread { throw QMPError("iothread \"\(thread)\" not found") }
        guard Self.isIdentifier(arguments.id) else { throw QMPError("Invalid block export id") }
        guard !exports.contains(where: { $0.id == arguments.id }), !exportsUnderWay.ids.contains(arguments.id) else {
            throw QMPError("Block export id '\(arguments.id)' is already in use")
        }
        // In QEMU's order: the node first, then the server.
        guard let node = graph.node(arguments.nodeName) else {
            throw QMPError("Cannot find device='' nor node-name='\(arguments.nodeName)'")
        }
        let isWritable = arguments.writable ?? false
        if isWritable, node.isReadOnly { throw QMPError("Cannot export read-only node as writable") }
        let name = options.name ?? arguments.nodeName
        guard let server = nbd else { throw QMPError("NBD server not running") }
        guard name.utf8.count <= 4096 else { throw QMPError("export name '\(name.prefix(64))' too long") }
        if let description = options.description, description.utf8.count > 4096 {
            throw QMPError("description '\(description.prefix(64))' too long")
        }
        guard server.export(named: name) == nil, !exportsUnderWay.names.contains(name) else {
            throw QMPError("NBD server already has export named '\(name)'")
        }
        // Taken before the node is waited for, so that nobody else takes them meanwhile.
        exportsUnderWay.ids.insert(arguments.id)
        exportsUnderWay.names.insert(name)
        defer {
            exportsUnderWay.ids.remove(arguments.id)
            exportsUnderWay.names.remove(name)
        }
        let root: BlockRoot
        do {
            root = try await graph.attach(
                arguments.id, to: arguments.nodeName, used: isWritable ? [.consistentRead, .write] : .consistentRead,
                // NBD cannot tell its clients of another size.
                shared: [.consistentRead, .write, .writeUnchanged])
        } catch { throw QMPError(error) }
        let export = NBDExport(
            id: arguments.id, name: name, description: options.description, storage: root, isWritable: isWritable,
            isWritethrough: arguments.writethrough ?? false, offersDepth: options.allocationDepth ?? false)
        // The server may have gone while the node was attached.
        guard nbd === server else {
            await graph.detach(root)
            throw QMPError("NBD server not running")
        }
        server.add(export)
        exports.append(Export(id: arguments.id, root: root, nbd: export, server: server))
    }

    func blockExportDel(_ arguments: BlockExportDelArguments) async throws(QMPError) {
        guard let export = exports.first(where: { $0.id == arguments.id }) else {
            throw QMPError("Export '\(arguments.id)' is not found")
        }
        if export.isShuttingDown { throw QMPError("Export '\(arguments.id)' is already shutting down") }
        let clients = export.server.clients(of: export.nbd)
        if (arguments.mode ?? .safe) == .safe, clients > 0 {
            throw QMPError("export '\(arguments.id)' still in use")
        }
        guard export.beginRemoval() else { return }
        if clients == 0 { return await finishRemoval(export) }
        // The requests of its clients end when the disk lets them; nobody waits for that but the event.
        context.spawn { await self.finishRemoval(export) }
    }

    func queryBlockExports() async throws(QMPError) -> [BlockExportInfo] {
        exports.reversed().map {
            BlockExportInfo(id: $0.id, type: .nbd, nodeName: $0.root.nodeName, shuttingDown: $0.isShuttingDown)
        }
    }

    /// Waits for what the export's clients began, gives its node back, and tells everybody.
    private func finishRemoval(_ export: Export) async {
        await export.server.remove(export.nbd)
        await graph.detach(export.root)
        exports.removeAll { $0 === export }
        tell(.blockExportDeleted(BlockExportDeletedEvent(id: export.id)))
        export.endRemoval()
    }

    private static func isIdentifier(_ id: String) -> Bool {
        guard let first = id.first, first.isASCII, first.isLetter else { return false }
        return id.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) }
    }
}

extension HostIO.SocketAddress {
    /// In the form that wraps the address in `data`.
    init(_ address: SocketAddressLegacy) throws(QMPError) {
        switch address.variant {
        case .inet(let inet): self = try Self.inet(inet.data)
        case .unix(let unix): self = try Self.unix(unix.data)
        case .fd(let fd): self = try Self.named(fd.data.str)
        case .vsock, .nothing: throw QMPError("socket type '\(address.type.rawValue)' is not supported")
        }
    }

    init(_ address: QMPTypes.SocketAddress) throws(QMPError) {
        switch address.variant {
        case .inet(let inet): self = try Self.inet(inet)
        case .unix(let unix): self = try Self.unix(unix)
        case .fd(let fd): self = try Self.inherited(fd.str)
        case .vsock, .nothing: throw QMPError("socket type '\(address.type.rawValue)' is not supported")
        }
    }

    private static func inet(_ address: InetSocketAddress) throws(QMPError) -> Self {
        .inet(host: address.host, port: address.port)
    }

    private static func unix(_ address: UnixSocketAddress) throws(QMPError) -> Self {
        if address.abstract ?? false { throw QMPError("abstract unix sockets are not supported") }
        return .unix(path: address.path)
    }

    /// A socket that a client of the monitor passed and named. The numbers of this process's own descriptors are no
    /// names: a client could close an image with them.
    private static func named(_ name: String) throws(QMPError) -> Self {
        throw QMPError("File descriptor named '\(name)' has not been found")
    }

    /// A socket that this process inherited, by its number: on the command line.
    static func inherited(_ text: String) throws(QMPError) -> Self {
        guard let number = Int32(text), number >= 0 else {
            throw QMPError("File descriptor named '\(text)' has not been found")
        }
        return .descriptor(number)
    }
}
