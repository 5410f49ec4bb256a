import Block
import Graph
import HostIO
import JSON
import QMPTypes

extension Service {
    /// Carries out one option of the command line.
    func carryOut(_ option: DaemonOption) async throws(QMPError) {
        switch option.kind {
        case .blockdev: try await blockdevAdd(try decode(option, implied: "driver"))
        case .export: try await blockExportAdd(try decode(option, implied: "type"))
        case .nbdServer:
            let server: NbdServerOptions = try decode(option, implied: nil)
            try startNBD(
                SocketAddress(server.addr), tlsCreds: server.tlsCreds, authz: server.tlsAuthz,
                maxConnections: server.maxConnections)
        case .chardev: try await addChardev(option.text)
        case .monitor: try addMonitor(try decode(option, implied: "chardev"))
        case .device: try await deviceAdd(try decode(option, implied: "driver"))
        case .object: try await addObject(try decode(option, implied: "qom-type"), isOnCommandLine: true)
        }
    }

    private func decode<T: QAPIType>(_ option: DaemonOption, implied: String?) throws(QMPError) -> T {
        let (value, isText) = try KeyValue.parse(option.text, implied: implied)
        return try T(QAPIInput(.object(value), isText: isText))
    }

    private func addMonitor(_ options: MonitorOptions) throws(QMPError) {
        guard options.mode != .readline else { throw QMPError("Only QMP is supported") }
        guard let chardev = chardevs[options.chardev] else {
            throw QMPError("chardev \"\(options.chardev)\" not found")
        }
        guard !chardev.isTaken else { throw QMPError("Device '\(options.chardev)' is in use") }
        chardev.isTaken = true
        start(chardev, pretty: options.pretty ?? false)
    }
}
