import Block
import DirtyMap
import HostIO
import ISCSI
import Logging
import NBDServer
import QMPTypes

// The commands of Schema/block-export.json.
extension Service {
    func nbdServerStart(_ arguments: NbdServerStartArguments, from client: any QMPClient) async throws(QMPError) {
        // A descriptor is taken only once nothing else stands in the way.
        try checkNBD(tlsCreds: arguments.tlsCreds, authz: arguments.tlsAuthz)
        let named = named[ObjectIdentifier(client)]
        // Closed again where nobody listens on it after all.
        var taken: Descriptor?
        let address = try HostIO.SocketAddress(arguments.addr) { (name) throws(QMPError) in
            guard let descriptor = named?.take(name) else {
                throw QMPError("File descriptor named '\(name)' has not been found")
            }
            taken = descriptor
            return .descriptor(descriptor.number)
        }
        try startNBD(
            address, tlsCreds: arguments.tlsCreds, authz: arguments.tlsAuthz, maxConnections: arguments.maxConnections)
        _ = taken?.giveAway()
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

    func blockExportAdd(_ arguments: BlockExportOptions) async throws(QMPError) {
        guard Self.isIdentifier(arguments.id) else { throw QMPError("Invalid block export id") }
        try checkFree(arguments.id)
        // Being added it has its name already, so that nobody else takes it meanwhile.
        exportsUnderWay.ids.insert(arguments.id)
        defer { exportsUnderWay.ids.remove(arguments.id) }
        switch arguments.variant {
        case .nbd(let options): exports.append(try await nbdExport(arguments, options))
        case .iscsi(let options): exports.append(try await iscsiExport(arguments, options))
        case .nothing: throw QMPError("Unsupported export type")
        }
    }

    private func checkFree(_ id: String) throws(QMPError) {
        if exportsUnderWay.ids.contains(id) || exports.contains(where: { $0.id == id }) {
            throw QMPError("Block export id '\(id)' is already in use")
        }
    }

    func blockExportDel(_ arguments: BlockExportDelArguments) async throws(QMPError) {
        guard let export = exports.first(where: { $0.id == arguments.id }) else {
            throw QMPError("Export '\(arguments.id)' is not found")
        }
        if export.isShuttingDown { throw QMPError("Export '\(arguments.id)' is already shutting down") }
        let clients = export.clients
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
            BlockExportInfo(
                id: $0.id, type: $0.type, nodeName: $0.sources.first?.nodeName ?? "",
                shuttingDown: $0.isShuttingDown)
        }
    }

    /// Waits for what the export's clients began, gives back what it held, and tells everybody.
    func finishRemoval(_ export: Export) async {
        switch export.kind {
        case .nbd(let nbdExport, let server):
            await server.remove(nbdExport)
            for bitmap in nbdExport.bitmaps { bitmap.end() }
        case .iscsi(let target, let portal): await remove(target, from: portal, units: export.sources.count)
        }
        for source in export.sources { await release(source) }
        exports.removeAll { $0 === export }
        tell(.blockExportDeleted(BlockExportDeletedEvent(id: export.id)))
        export.endRemoval()
    }

    /// A letter, then letters, digits and `-._`.
    static func isIdentifier(_ id: String) -> Bool {
        guard let first = id.first, first.isASCII, first.isLetter else { return false }
        return id.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) }
    }
}
