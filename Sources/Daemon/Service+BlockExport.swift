import Block
import HostIO
import ISCSI
import NBDServer
import QMPTypes

// The commands of Schema/block-export.json.
extension Service {
    func nbdServerStart(_ arguments: NbdServerStartArguments, from client: any QMPClient) async throws(QMPError) {
        let named = named[ObjectIdentifier(client)]
        let address = try HostIO.SocketAddress(arguments.addr) { (name) throws(QMPError) in
            guard let descriptor = named?.take(name) else {
                throw QMPError("File descriptor named '\(name)' has not been found")
            }
            return .descriptor(descriptor.giveAway())
        }
        try startNBD(
            address, tlsCreds: arguments.tlsCreds, authz: arguments.tlsAuthz, maxConnections: arguments.maxConnections)
    }

    func nbdServerStop() async throws(QMPError) {
        guard nbd != nil else { throw QMPError("NBD server not running") }
        await stopNBD()
    }

    func blockExportAdd(_ arguments: BlockExportOptions) async throws(QMPError) {
        if let thread = arguments.iothread { throw QMPError("iothread \"\(thread)\" not found") }
        guard Self.isIdentifier(arguments.id) else { throw QMPError("Invalid block export id") }
        try checkFree(arguments.id)
        // Being added it has its name already, so that nobody else takes it meanwhile.
        addingExports.insert(arguments.id)
        defer { addingExports.remove(arguments.id) }
        switch arguments.variant {
        case .nbd(let options): exports.append(try await nbdExport(arguments, options))
        case .iscsi(let options): exports.append(try await iscsiExport(arguments, options))
        case .nothing: throw QMPError("Unsupported export type")
        }
    }

    private func checkFree(_ id: String) throws(QMPError) {
        if addingExports.contains(id) || exports.contains(where: { $0.id == id }) {
            throw QMPError("Block export id '\(id)' is already in use")
        }
    }

    func blockExportDel(_ arguments: BlockExportDelArguments) async throws(QMPError) {
        guard let export = exports.first(where: { $0.id == arguments.id }) else {
            throw QMPError("Export '\(arguments.id)' is not found")
        }
        if export.isShuttingDown { throw QMPError("Export '\(arguments.id)' is already shutting down") }
        if (arguments.mode ?? .safe) == .safe, clients(of: export) > 0 {
            throw QMPError("export '\(arguments.id)' still in use")
        }
        await remove(export)
    }

    func queryBlockExports() async throws(QMPError) -> [BlockExportInfo] {
        exports.reversed().map {
            BlockExportInfo(
                id: $0.id, type: $0.type, nodeName: $0.sources.first?.nodeName ?? "",
                shuttingDown: $0.isShuttingDown)
        }
    }

    private func clients(of export: Export) -> Int {
        switch export.kind {
        case .nbd(let nbdExport): nbd?.clients(of: nbdExport) ?? 0
        case .iscsi(let target, let portal): portal.server.sessions(of: target)
        }
    }

    /// Ends an export: its clients first, then what it held.
    func remove(_ export: Export) async {
        guard !export.isShuttingDown else { return }
        export.isShuttingDown = true
        switch export.kind {
        case .nbd(let nbdExport): await nbd?.remove(nbdExport)
        case .iscsi(let target, let portal): await remove(target, from: portal, units: export.sources.count)
        }
        for source in export.sources { await release(source) }
        exports.removeAll { $0 === export }
        tell(.blockExportDeleted(BlockExportDeletedEvent(id: export.id)))
    }

    /// A letter, then letters, digits and `-._`.
    static func isIdentifier(_ id: String) -> Bool {
        guard let first = id.first, first.isASCII, first.isLetter else { return false }
        return id.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) }
    }
}
