import Graph
import JSON
import QMPTypes

/// What `drive_add` takes, in the words of QEMU's `-drive`: `if=none,id=…,file=…,format=…`, a few switches of its own, and
/// any option of the node by its dotted name.
struct DriveOptions {
    let id: String
    /// Nil: an empty drive.
    let medium: NodeOptions?
    let common: CommonOptions

    init(_ text: String) throws(QMPError) {
        var pairs = try Pairs(text)
        let interface = pairs.take("if") ?? "ide"
        guard interface == "none" else {
            let number = Self.interfaces.firstIndex(of: interface)
            throw QMPError(
                number.map { "Can't hot-add drive to type \($0)" } ?? "unsupported bus type '\(interface)'")
        }
        guard let id = pairs.take("id") else { throw QMPError("Parameter 'id' is missing") }
        self.id = id
        // What belongs to a guest device or to a machine that could be stopped.
        for ignored in ["media", "index", "werror", "rerror"] { _ = pairs.take(ignored) }
        try pairs.translate()
        common = CommonOptions(isReadOnly: pairs["read-only"].map { $0 == "on" })
        guard pairs["driver"] != nil || pairs["file.filename"] != nil else {
            medium = nil
            return
        }
        let (options, _) = try KeyValue.parse(pairs.text)
        medium = try NodeOptions(try BlockdevOptions(QAPIInput(.object(options), isText: true)))
    }

    /// In the order in which QEMU numbers them.
    private static let interfaces = ["none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen"]
}

/// Options in one level: a name may be both a text and the beginning of longer names.
private struct Pairs {
    private var pairs: [(name: String, value: String)] = []

    init(_ text: String) throws(QMPError) {
        var rest = text[...]
        while !rest.isEmpty {
            var part = ""
            while let character = rest.popFirst() {
                if character == "," {
                    // Two commas stand for one.
                    guard rest.first == "," else { break }
                    rest.removeFirst()
                }
                part.append(character)
            }
            let halves = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard halves.count == 2 else { throw QMPError("Expected '=' after parameter '\(part)'") }
            self[String(halves[0])] = String(halves[1])
        }
    }

    subscript(name: String) -> String? {
        get { pairs.first { $0.name == name }?.value }
        set {
            pairs.removeAll { $0.name == name }
            if let newValue { pairs.append((name, newValue)) }
        }
    }

    mutating func take(_ name: String) -> String? {
        defer { self[name] = nil }
        return self[name]
    }

    /// As a node's options.
    var text: String {
        pairs.map { "\($0.name)=\($0.value.replacing(",", with: ",,"))" }.joined(separator: ",")
    }

    /// Turns a drive's own words into those of its node.
    mutating func translate() throws(QMPError) {
        for (old, new) in [("readonly", "read-only"), ("aio", "file.aio"), ("format", "driver")] {
            if let value = take(old) { self[new] = value }
        }
        if let file = take("file") {
            guard self["driver"] != nil else {
                throw QMPError("Parameter 'format' is missing: the format of something writable is not guessed")
            }
            self["file.driver"] = self["file.driver"] ?? "file"
            self["file.filename"] = file.hasPrefix("file:") ? String(file.dropFirst("file:".count)) : file
        }
        if let discard = self["discard"] { self["discard"] = ["on": "unmap", "off": "ignore"][discard] ?? discard }
        try translateCache()
        if let snapshot = take("snapshot"), snapshot != "off" { throw QMPError("'snapshot' cannot be on") }
    }

    private mutating func translateCache() throws(QMPError) {
        guard let cache = take("cache") else { return }
        switch cache {
        case "writeback": break
        case "none", "off": self["cache.direct"] = "on"
        case "unsafe": self["cache.no-flush"] = "on"
        case "writethrough", "directsync":
            throw QMPError("'cache' cannot be \(cache): export the device with 'writethrough'")
        default: throw QMPError("invalid cache option")
        }
    }
}
