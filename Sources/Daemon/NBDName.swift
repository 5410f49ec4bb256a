import FoundationEssentials
import JSON
import QMPTypes

/// The names that QEMU's programs have for an NBD export: `nbd://HOST[:PORT]/NAME`, `nbd+unix:///NAME?socket=PATH` (the NBD
/// project's doc/uri.md), and the older `nbd:HOST:PORT[:exportname=NAME]` and `nbd:unix:PATH[:exportname=NAME]`.
enum NBDName {
    private static let standardPort = "10809"

    static func isOne(_ text: String) -> Bool {
        ["nbd:", "nbd+tcp:", "nbd+unix:"].contains { text.hasPrefix($0) }
    }

    /// The options of the driver `nbd`.
    static func options(_ text: String) throws(QMPError) -> JSONObject {
        let (server, name) = text.contains("://") ? try uri(text) : try older(text)
        var result = JSONObject()
        result["driver"] = "nbd"
        result["server"] = .object(server)
        if !name.isEmpty { result["export"] = .string(name) }
        return result
    }

    private static func uri(_ text: String) throws(QMPError) -> (server: JSONObject, name: String) {
        guard let parts = URLComponents(string: text) else { throw QMPError("Invalid URI") }
        let path = parts.path
        let name = path.hasPrefix("/") ? String(path.dropFirst()) : path
        let socket = parts.queryItems?.first { $0.name == "socket" }?.value
        if parts.scheme == "nbd+unix" {
            guard let socket, parts.host ?? "" == "", parts.port == nil else { throw QMPError("Invalid URI") }
            return (unix(socket), name)
        }
        guard socket == nil, let host = parts.host, !host.isEmpty else { throw QMPError("Invalid URI") }
        return (inet(host.trimmingBrackets, parts.port.map(String.init) ?? standardPort), name)
    }

    private static func older(_ text: String) throws(QMPError) -> (server: JSONObject, name: String) {
        var rest = String(text.dropFirst("nbd:".count))
        var name = ""
        if let mark = rest.firstRange(of: ":exportname=") {
            name = String(rest[mark.upperBound...])
            rest = String(rest[..<mark.lowerBound])
        }
        if rest.hasPrefix("unix:") { return (unix(String(rest.dropFirst("unix:".count))), name) }
        guard let colon = rest.lastIndex(of: ":"), rest.index(after: colon) < rest.endIndex else {
            throw QMPError("error parsing address '\(rest)'")
        }
        return (inet(String(rest[..<colon]).trimmingBrackets, String(rest[rest.index(after: colon)...])), name)
    }

    private static func unix(_ path: String) -> JSONObject {
        var result = JSONObject()
        result["type"] = "unix"
        result["path"] = .string(path)
        return result
    }

    private static func inet(_ host: String, _ port: String) -> JSONObject {
        var result = JSONObject()
        result["type"] = "inet"
        result["host"] = .string(host)
        result["port"] = .string(port)
        return result
    }
}

extension String {
    /// An IPv6 address without its brackets.
    fileprivate var trimmingBrackets: String {
        hasPrefix("[") && hasSuffix("]") ? String(dropFirst().dropLast()) : self
    }
}
