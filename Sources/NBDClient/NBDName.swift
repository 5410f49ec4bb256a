public import Block

/// Remote exports as file names: NBD URIs (doc/uri.md of the NBD project, as far as QEMU reads them) and QEMU's older
/// form. Only names that a user gives are read like this, never those in images.
public enum NBDName {
    public static let defaultPort = "10809"

    /// Whether a name that starts with this word, before its first colon, is one.
    public static func isScheme(_ word: String) -> Bool { ["nbd", "nbd+tcp", "nbd+unix"].contains(word) }

    /// What a name means; nil where it names no remote export at all.
    public static func parse(_ name: String) throws(OpenError) -> NBDRemoteOptions? {
        guard let colon = name.firstIndex(of: ":"), isScheme(String(name[..<colon])) else { return nil }
        let rest = name[name.index(after: colon)...]
        if rest.hasPrefix("//") {
            guard let options = uri(String(name[..<colon]), rest.dropFirst(2)) else {
                throw OpenError("No valid URL specified", cause: .invalid)
            }
            return options
        }
        guard name.hasPrefix("nbd:") else { throw OpenError("Unknown protocol '\(name[..<colon])'") }
        return try older(rest)
    }

    // MARK: URIs

    private static func uri(_ scheme: String, _ rest: Substring) -> NBDRemoteOptions? {
        let isUnix = scheme == "nbd+unix"
        var rest = rest.prefix { $0 != "#" }
        var query: Substring?
        if let mark = rest.firstIndex(of: "?") {
            query = rest[rest.index(after: mark)...]
            rest = rest[..<mark]
        }
        let authority = rest.prefix { $0 != "/" }
        guard let path = decoded(rest.dropFirst(authority.count).drop { $0 == "/" }) else { return nil }
        let export = path.isEmpty ? nil : path
        if isUnix {
            guard authority.isEmpty, let query, query.hasPrefix("socket="), !query.contains("&"),
                let socket = decoded(query.dropFirst("socket=".count)), !socket.isEmpty
            else { return nil }
            return NBDRemoteOptions(server: .unix(path: socket), export: export)
        }
        guard (query ?? "").isEmpty, let (host, port) = hostAndPort(authority), !host.isEmpty,
            let host = decoded(Substring(host))
        else { return nil }
        return NBDRemoteOptions(server: .inet(.init(host: host, port: port ?? defaultPort)), export: export)
    }

    /// Splits `host:port` or `[host]:port`.
    private static func hostAndPort(_ text: Substring) -> (host: String, port: String?)? {
        var rest = text
        let host: Substring
        if rest.hasPrefix("[") {
            guard let end = rest.firstIndex(of: "]") else { return nil }
            host = rest[rest.index(after: rest.startIndex)..<end]
            rest = rest[rest.index(after: end)...]
        } else {
            host = rest.prefix { $0 != ":" }
            rest = rest.dropFirst(host.count)
        }
        if rest.isEmpty { return (String(host), nil) }
        guard rest.first == ":", !rest.dropFirst().isEmpty else { return nil }
        return (String(host), String(rest.dropFirst()))
    }

    /// Text with its `%xx` resolved; nil where one is none, or the outcome is no text.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16),
                value > 0
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    // MARK: The older form

    /// `unix:PATH` or `HOST:PORT`, and `:exportname=NAME` behind it.
    private static func older(_ rest: Substring) throws(OpenError) -> NBDRemoteOptions {
        let mark = ":exportname="
        var (place, export) = (rest, nil as String?)
        if let found = rest.firstRange(of: mark) {
            place = rest[..<found.lowerBound]
            let name = String(rest[found.upperBound...])
            export = name.isEmpty ? nil : name
        }
        if place.hasPrefix("unix:") {
            let path = String(place.dropFirst("unix:".count))
            return NBDRemoteOptions(server: .unix(path: path), export: export)
        }
        guard let (host, port) = hostAndPort(place), let port else {
            throw OpenError("error parsing address '\(place)'", cause: .invalid)
        }
        return NBDRemoteOptions(server: .inet(.init(host: host, port: port)), export: export)
    }
}

extension NBDRemoteOptions {
    /// Longer names are told as options.
    private static let longestName = 4095

    /// The name under which QEMU tells the export, or nil where only options say it.
    public var filename: String? {
        let name: String
        switch server {
        case .unix(let path): name = "nbd+unix://" + (export.map { "/" + $0 } ?? "") + "?socket=" + path
        case .inet(let inet):
            guard inet.ipv4 == nil, inet.ipv6 == nil else { return nil }
            name = "nbd://\(inet.host):\(inet.port)" + (export.map { "/" + $0 } ?? "")
        case .descriptor: return nil
        }
        return name.utf8.count <= Self.longestName ? name : nil
    }
}
