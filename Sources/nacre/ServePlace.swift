import Block
import HostStorage
import JSON

/// Where `serve` serves.
struct ServePlace: Sendable {
    enum Transport: Sendable {
        case unix(String)
        case tcp(host: String, port: UInt16)

        /// The address as `nbd-server-start` takes it.
        var address: JSONValue {
            switch self {
            case .unix(let path): ["type": "unix", "path": .string(path)]
            case .tcp(let host, let port): ["type": "inet", "host": .string(host), "port": .string(String(port))]
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

    /// Percent-encoded but for unreserved characters (RFC 3986, section 2.3) and those that are kept.
    private static func escaped(_ text: String, keeping kept: String = "") -> String {
        let plain = Set(("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~" + kept).utf8)
        let digits = Array("0123456789ABCDEF".utf8)
        let bytes = text.utf8.flatMap { byte in
            plain.contains(byte)
                ? [byte] : [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A folder of our own for sockets, closed to others.
struct PrivateFolder: Sendable {
    private let path: String?

    init(needed: Bool) throws(OpenError) {
        guard needed else {
            path = nil
            return
        }
        let above = HostProcess.environment("XDG_RUNTIME_DIR") ?? HostProcess.environment("TMPDIR") ?? "/tmp"
        let folder = "\(above)/nacre-\(HostProcess.id)-\(UInt32.random(in: 0...UInt32.max))"
        try HostFolder.makePrivate(folder)
        path = folder
    }

    func path(of name: String) -> String { (path ?? "") + "/" + name }

    func remove() {
        if let path { HostFolder.remove(path) }
    }
}
