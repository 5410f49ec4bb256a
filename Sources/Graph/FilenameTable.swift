import Block
import Filters
import NBDClient

/// What each node of a value is called as a file: the plain name where opening that, with the node's format, gives the
/// node again; else `json:` and the options that do.
struct FilenameTable {
    private struct Entry {
        /// The plain name, where there is one.
        var plain: String?
        /// The options as a JSON object.
        var options: JSONText
        var text: String { plain ?? "json:" + options.text }
    }

    private var entries: [NodeID: Entry] = [:]

    /// Works bottom up, each node once: chains are long, and each level names the one below.
    init(_ value: GraphValue) {
        for id in value.topDown().reversed() {
            guard let node = value.nodes[id] else { continue }
            entries[id] = entry(of: node)
        }
    }

    func filename(of id: NodeID) -> String { entries[id]?.text ?? "" }
    func plainFilename(of id: NodeID) -> String? { entries[id]?.plain }

    private func entry(of node: NodeValue) -> Entry {
        var options = JSONText()
        options.add("driver", string: node.driver.name)
        var plain: String?
        switch node.driver {
        case .file(let own), .hostDevice(let own):
            options.add("filename", string: own.filename)
            plain = own.filename
        case .nullCo(let own), .nullAio(let own):
            if let size = own.size { options.add("size", literal: "\(size)") }
            if let latency = own.latencyNs { options.add("latency-ns", literal: "\(latency)") }
            if let zeroes = own.readZeroes { options.add("read-zeroes", literal: "\(zeroes)") }
            if own == NullOptions() { plain = node.driver.name + "://" }
        case .nbd(let own):
            for member in own.flat {
                if member.isText {
                    options.add(member.key, string: member.value)
                } else {
                    options.add(member.key, literal: member.value)
                }
            }
            plain = own.filename
        case .raw(let own):
            if let offset = own.offset { options.add("offset", literal: "\(offset)") }
            if let size = own.size { options.add("size", literal: "\(size)") }
            if own.offset == nil, own.size == nil { plain = protocolName(below: node) }
        case .qcow2:
            if isBackingOverridden(node) {
                let below = node.backing.flatMap { entries[$0]?.options.text }
                options.add("backing", literal: below ?? "null")
            } else {
                plain = protocolName(below: node)
            }
        case .blkdebug(let own):
            Self.add(own, to: &options)
            if own.errors.isEmpty, own.transitions.isEmpty, own.limits == PretendedLimits(), own.taken.isEmpty,
                own.unshared.isEmpty,
                let image = node.edge("image").flatMap({ entries[$0.child]?.plain })
            {
                plain = "blkdebug:\(own.config ?? ""):\(image)"
            }
        case .throttle(let own): options.add("throttle-group", string: own.group)
        case .copyOnRead, .compress, .preallocate: break
        }
        for edge in node.edges where edge.role != .backing {
            options.add(edge.name, literal: entries[edge.child]?.options.text ?? "null")
        }
        return Entry(plain: plain, options: options)
    }

    /// A filter's rules, as options of one level.
    private static func add(_ own: BlkdebugOptions, to options: inout JSONText) {
        for (index, rule) in own.errors.enumerated() {
            options.add("inject-error.\(index).event", string: rule.event.rawValue)
            if rule.state != 0 { options.add("inject-error.\(index).state", literal: "\(rule.state)") }
            if rule.errno != 5 { options.add("inject-error.\(index).errno", literal: "\(rule.errno)") }
            if let sector = rule.sector { options.add("inject-error.\(index).sector", literal: "\(sector)") }
            if rule.once { options.add("inject-error.\(index).once", literal: "true") }
            if rule.immediately { options.add("inject-error.\(index).immediately", literal: "true") }
        }
        for (index, rule) in own.transitions.enumerated() {
            options.add("set-state.\(index).event", string: rule.event.rawValue)
            if rule.state != 0 { options.add("set-state.\(index).state", literal: "\(rule.state)") }
            options.add("set-state.\(index).new_state", literal: "\(rule.newState)")
        }
        if let config = own.config { options.add("config", string: config) }
        let limits: [(String, UInt64?)] = [
            ("align", own.limits.align), ("max-transfer", own.limits.maxTransfer),
            ("opt-write-zero", own.limits.optWriteZero), ("max-write-zero", own.limits.maxWriteZero),
            ("opt-discard", own.limits.optDiscard), ("max-discard", own.limits.maxDiscard),
        ]
        for case (let name, let value?) in limits { options.add(name, literal: "\(value)") }
    }

    /// The name of a format's file, where that is a protocol with a plain one. A format on a format has none.
    private func protocolName(below node: NodeValue) -> String? {
        guard let file = node.edge("file"), let entry = entries[file.child], entry.options.isProtocol else {
            return nil
        }
        return entry.plain
    }

    /// Whether something else lies below than the image says.
    private func isBackingOverridden(_ node: NodeValue) -> Bool {
        let recorded = node.recordedBacking ?? ""
        guard let backing = node.backing else { return !recorded.isEmpty }
        if recorded == filename(of: backing) { return false }
        // The name may be spelt otherwise, but a name that only options can give is another thing.
        return node.ownBacking != backing || plainFilename(of: backing) == nil
    }
}

/// A JSON object under construction, its members in QEMU's order: that of the buckets of its hash table.
struct JSONText {
    private var members: [(key: String, value: String)] = []
    private(set) var isProtocol = true

    mutating func add(_ key: String, string: String) { add(key, literal: Self.quoted(string)) }

    mutating func add(_ key: String, literal: String) {
        // Formats have a file; a filter that stands for a protocol has an image.
        if key == "file" { isProtocol = false }
        members.append((key, literal))
    }

    var text: String {
        let ordered = members.sorted { Self.bucket($0.key) < Self.bucket($1.key) }
        return "{" + ordered.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", ") + "}"
    }

    /// The bucket of a key (qmp-semantics, JSON emitted).
    private static func bucket(_ key: String) -> UInt32 {
        var hash = 0x238F_13AF &* UInt32(truncatingIfNeeded: key.utf8.count)
        for (index, byte) in key.utf8.enumerated() { hash = hash &+ (UInt32(byte) << UInt32(index * 5 % 24)) }
        return (1_103_515_243 &* hash &+ 12345) % 512
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for unit in text.utf16 {
            switch unit {
            case 0x22: result += "\\\""
            case 0x5C: result += "\\\\"
            case 0x20...0x7E: result.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
            case 0x0A: result += "\\n"
            case 0x0D: result += "\\r"
            case 0x09: result += "\\t"
            default:
                let digits = String(unit, radix: 16, uppercase: true)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }
        }
        return result + "\""
    }
}

extension GraphValue {
    /// The node as a file name; for one question. Ask a `FilenameTable` for many.
    func filename(of id: NodeID) -> String { FilenameTable(self).filename(of: id) }
    func plainFilename(of id: NodeID) -> String? { FilenameTable(self).plainFilename(of: id) }

    /// The plain name of the host file that holds a node's own data, filters and all.
    func dataFilename(of id: NodeID) -> String? {
        var next: NodeID? = id
        while let here = next, let node = nodes[here] {
            switch node.driver {
            case .file(let own), .hostDevice(let own): return own.filename
            case .nullCo, .nullAio, .nbd: return nil
            case .raw, .qcow2, .blkdebug, .throttle, .copyOnRead, .compress, .preallocate: next = node.base
            }
        }
        return nil
    }
}
