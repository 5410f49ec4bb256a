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
        case .chardev: try addChardev(option.text)
        case .monitor: try addMonitor(option.text)
        case .device: try await deviceAdd(try decode(option, implied: "driver"))
        case .object: try await addObject(try decode(option, implied: "qom-type"), isOnCommandLine: true)
        }
    }

    private func decode<T: QAPIType>(_ option: DaemonOption, implied: String?) throws(QMPError) -> T {
        let (value, isText) = try KeyValue.parse(option.text, implied: implied)
        return try T(QAPIInput(.object(value), isText: isText))
    }

    private func addMonitor(_ text: String) throws(QMPError) {
        var options = try FlatOptions(text, implied: "chardev")
        guard let name = options.take("chardev") else { throw QMPError("Parameter 'chardev' is missing") }
        let mode = options.take("mode")
        guard mode == nil || mode == "control" else {
            throw QMPError(
                mode == "readline" ? "HMP not supported" : "Parameter 'mode' does not accept value '\(mode ?? "")'")
        }
        let isPretty = try options.takeBool("pretty") ?? false
        _ = options.take("id")
        try options.finish()
        guard let chardev = chardevs[name] else { throw QMPError("chardev \"\(name)\" not found") }
        guard !chardev.isTaken else { throw QMPError("chardev \"\(name)\" is already in use") }
        chardev.isTaken = true
        try start(chardev, pretty: isPretty)
    }
}

/// Options without a schema: names and texts, each taken once.
struct FlatOptions {
    private var object: JSONObject

    init(_ text: String, implied: String) throws(QMPError) { (object, _) = try KeyValue.parse(text, implied: implied) }

    mutating func take(_ name: String) -> String? {
        defer { object[name] = nil }
        switch object[name] {
        case .string(let text): return text
        case .bool(let value): return value ? "on" : "off"
        case .int(let value): return String(value)
        default: return nil
        }
    }

    mutating func takeBool(_ name: String) throws(QMPError) -> Bool? {
        guard let text = take(name) else { return nil }
        return try Bool(QAPIInput(.string(text), path: name, isText: true, member: name))
    }

    func finish() throws(QMPError) {
        if let left = object.members.first { throw QMPError("Invalid parameter '\(left.name)'") }
    }
}
