import Foundation

/// Where `serve` serves.
struct ServePlace: Sendable {
    enum Transport: Sendable {
        case unix(String)
        case tcp(host: String, port: UInt16)

        /// The address as `nbd-server-start` takes it.
        var address: [String: String] {
            switch self {
            case .unix(let path): ["type": "unix", "path": path]
            case .tcp(let host, let port): ["type": "inet", "host": host, "port": String(port)]
            }
        }
    }

    let transport: Transport
    let qmp: String
    let export: String

    /// The NBD URI of the export.
    var uri: String {
        let name = Self.escaped(export)
        switch transport {
        case .unix(let path): return "nbd+unix:///\(name)?socket=\(Self.escaped(path, keeping: "/"))"
        case .tcp(let host, let port):
            return "nbd://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(name)"
        }
    }

    private static func escaped(_ text: String, keeping kept: String = "") -> String {
        let plain = CharacterSet(
            charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~" + kept)
        return text.addingPercentEncoding(withAllowedCharacters: plain) ?? text
    }
}

/// A folder of our own for sockets, closed to others.
struct PrivateFolder: Sendable {
    private let path: String?

    init(needed: Bool) throws {
        guard needed else {
            path = nil
            return
        }
        let environment = ProcessInfo.processInfo.environment
        let above = environment["XDG_RUNTIME_DIR"] ?? environment["TMPDIR"] ?? "/tmp"
        let name = "nacre-\(ProcessInfo.processInfo.processIdentifier)-\(UInt32.random(in: 0...UInt32.max))"
        let folder = URL(filePath: above).appending(path: name).path
        // Refused where it is there already, so nobody else can have made it.
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        path = folder
    }

    func path(of name: String) -> String { (path ?? "") + "/" + name }

    func remove() {
        if let path { try? FileManager.default.removeItem(atPath: path) }
    }
}
