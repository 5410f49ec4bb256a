import Block
import Graph
import Image
import JSON
import NBDClient
import QMPTypes

/// What the words of a command line say of an image, as the options of one node: a file name, options beside it, or both.
/// The one reading of names and dotted options for all programs. None of this is ever asked what stands in an image.
///
/// As in QEMU's programs a name goes to whoever takes names: a protocol takes its own, `blkdebug` hands what is left of it to
/// its image, and every other driver to its `file`. What the options say themselves counts before what the name says.
struct ImageWords {
    /// Scalars are texts or of JSON.
    private(set) var options: JSONObject

    /// Drivers that take a name themselves.
    static let protocols: Set<String> = ["file", "host_device", "host_cdrom", "null-co", "null-aio", "nbd", "blkdebug"]

    /// How deep names in names may be (`blkdebug::blkdebug::…`): as deep as options.
    private static let deepest = 32

    /// Of a name and of options. `driver` is one that stands apart from them (`-f`).
    init(_ name: String?, _ list: OptionList = OptionList(), driver: String? = nil) throws(QMPError) {
        try self.init(name, try KeyValue.parse(list.text).value, driver: driver)
    }

    init(_ name: String?, _ options: JSONObject, driver: String? = nil) throws(QMPError) {
        self.options = options
        if let driver, options["driver"] == nil { self.options["driver"] = .string(driver) }
        guard let name else { return }
        self.options = try Self.naming(name, self.options, isBelow: false, depth: 0)
    }

    var driver: String? {
        get { options["driver"]?.string }
        set { options["driver"] = newValue.map { .string($0) } }
    }

    /// Whether anything is said of the node itself, and not only of what holds its bytes.
    var saysOfNode: String? { options.members.first { $0.name != "file" }?.name }

    /// The path, where the image is a plain file and that is all that is said.
    var plainPath: String? {
        guard saysOfNode == nil, let file = options["file"]?.object, let path = file["filename"]?.string,
            file.members.allSatisfy({ $0.name == "filename" || $0.name == "driver" && $0.value == "file" })
        else { return nil }
        return path
    }

    // MARK: As nodes

    func node() throws(QMPError) -> NodeOptions {
        var whole = options
        // A backing node whose place nobody tells is the one that the image names. Drivers without a file tell it by themselves.
        var own: BackingReference?
        if driver == "qcow2", let backing = options["backing"]?.object, !backing.isEmpty,
            backing.members.allSatisfy({ ["node-name", "driver"].contains($0.name) && $0.value.string != nil }),
            ["qcow2", "raw", nil].contains(backing["driver"]?.string)
        {
            own = .own(nodeName: backing["node-name"]?.string, format: backing["driver"]?.string)
            whole["backing"] = nil
        }
        whole = try whole.completed()
        guard BlockdevDriver(rawValue: driver ?? "") != nil else { throw QMPError("Unknown driver '\(driver ?? "")'") }
        var node = try Self.node(whole)
        if let own, case .qcow2(var image) = node.driver {
            image.backing = own
            node.driver = .qcow2(image)
        }
        return node
    }

    /// The node that holds the bytes, where nothing tells a driver.
    func storage() throws(QMPError) -> NodeOptions {
        guard let file = options["file"] else { throw QMPError("Must specify either driver or file") }
        guard let below = file.object else {
            throw QMPError("Cannot find device='' nor node-name='\(file.string ?? "")'")
        }
        return try Self.node(below.completed(asChild: true))
    }

    private static func node(_ options: JSONObject) throws(QMPError) -> NodeOptions {
        do throws(QMPError) {
            // Text counts as what it says: QEMU takes `"4096"` and `"on"` in JSON too.
            return try NodeOptions(BlockdevOptions(QAPIInput(.object(options), isText: true)))
        } catch {
            guard error.message == "Parameter 'file' is missing" else { throw error }
            throw QMPError("A block device must be specified for \"file\"")
        }
    }

    // MARK: Changing

    /// With what these say in the place of what was said before: objects member by member.
    func changed(by other: ImageWords) -> ImageWords {
        var result = self
        result.options.join(other.options)
        return result
    }

    /// Takes out what no reopening changes, a node's name and its driver, of this node and of those below it; throws where
    /// they are not what they are.
    mutating func takeFixed(of node: String, in graph: (String) -> NodeInfo?) throws(QMPError) {
        options = try Self.takingFixed(options, of: graph(node), in: graph)
    }

    private static func takingFixed(_ options: JSONObject, of node: NodeInfo?, in graph: (String) -> NodeInfo?)
        throws(QMPError) -> JSONObject
    {
        guard let node else { return options }
        var result = options
        for (name, value) in [("node-name", node.nodeName), ("driver", node.driver)] {
            guard let said = result[name] else { continue }
            guard said.string == value else { throw QMPError("Cannot change the option '\(name)'") }
            result[name] = nil
        }
        for child in node.children {
            guard let said = result[child.name]?.object else { continue }
            let rest = try takingFixed(said, of: graph(child.nodeName), in: graph)
            result[child.name] = rest.isEmpty ? nil : .object(rest)
        }
        return result
    }

    // MARK: Names

    /// Puts a name where the driver of these options takes it. `isBelow`: an image's bytes are looked for, so that without
    /// a driver the name tells one.
    private static func naming(_ name: String, _ options: JSONObject, isBelow: Bool, depth: Int)
        throws(QMPError) -> JSONObject
    {
        guard depth < deepest else { throw QMPError("The file name goes too deep") }
        var result = options
        let scheme = PathText.protocolName(name)
        if scheme == "json" {
            result = try json(name)
            result.join(options)
            return result
        }
        if isBelow, options["driver"] == nil, let scheme {
            result["driver"] = .string(try driver(of: scheme))
        }
        func below(_ child: String, _ name: String) throws(QMPError) {
            let own = result[child] ?? .object(JSONObject())
            guard let object = own.object, object["filename"] == nil else {
                throw QMPError("Can't specify 'file' and 'filename' options at the same time")
            }
            result[child] = .object(try naming(name, object, isBelow: true, depth: depth + 1))
        }
        func rest(_ own: String) -> String { scheme == own ? String(name.dropFirst(own.count + 1)) : name }
        switch result["driver"]?.string {
        case nil where isBelow: result["filename"] = .string(name)
        case "file"?: result["filename"] = .string(rest("file"))
        case "host_device"?: result["filename"] = .string(rest("host_device"))
        case "host_cdrom"?: result["filename"] = .string(rest("host_cdrom"))
        case "null-co"?, "null-aio"?: break
        case "nbd"?:
            var remote = try remoteOptions(name)
            remote.join(result)
            result = remote
        case "blkdebug"? where scheme == "blkdebug":
            let rest = name.dropFirst("blkdebug:".count)
            guard let colon = rest.firstIndex(of: ":") else {
                throw QMPError("blkdebug requires both config file and image path")
            }
            if colon > rest.startIndex, result["config"] == nil { result["config"] = .string(String(rest[..<colon])) }
            try below("image", String(rest[rest.index(after: colon)...]))
        case "blkdebug"?: try below("image", name)
        default: try below("file", name)
        }
        return result
    }

    /// The driver that a name's first word stands for.
    private static func driver(of scheme: String) throws(QMPError) -> String {
        if NBDName.isScheme(scheme) { return "nbd" }
        guard protocols.contains(scheme) else { throw QMPError("Unknown protocol '\(scheme)'") }
        return scheme
    }

    private static func json(_ name: String) throws(QMPError) -> JSONObject {
        let value: JSONValue
        do throws(JSONError) { value = try JSONValue.parse(String(name.dropFirst("json:".count))) } catch {
            throw QMPError("Could not parse the JSON options: \(error.message)")
        }
        guard let object = value.object else { throw QMPError("Invalid JSON object given") }
        return try object.nested()
    }

    private static func remoteOptions(_ name: String) throws(QMPError) -> JSONObject {
        let remote: NBDRemoteOptions?
        do throws(OpenError) { remote = try NBDName.parse(name) } catch { throw QMPError(error.message) }
        guard let remote else { throw QMPError("File name string for new protocols must start with 'nbd:'") }
        var result = JSONObject()
        switch remote.server {
        case .unix(let path): result["server"] = ["type": "unix", "path": .string(path)]
        case .inet(let inet):
            result["server"] = ["type": "inet", "host": .string(inet.host), "port": .string(inet.port)]
        case .descriptor(let number): result["server"] = ["type": "fd", "str": .string(String(number))]
        }
        if let export = remote.export { result["export"] = .string(export) }
        return result
    }
}

extension JSONObject {
    /// Options whose values may be written as sizes where they are texts: `64k`, `1G`.
    private static let sizes: Set<String> = [
        "size", "offset", "cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size", "align",
        "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard", "prealloc-align",
        "prealloc-size",
    ]

    /// The names of children that are nodes.
    private static let children: Set<String> = ["file", "backing", "data-file", "image"]

    /// With the drivers that file names tell, in this node and below it. `asChild`: without a driver it is a file.
    fileprivate func completed(asChild: Bool = false) throws(QMPError) -> JSONObject {
        var result = self
        if asChild, self["driver"] == nil {
            guard let filename = self["filename"]?.string else {
                throw QMPError("Must specify either driver or file")
            }
            result["driver"] = .string(HostOpener.driver(for: filename))
        }
        if result["driver"] == "nbd" { result.nameServer() }
        for member in members {
            if Self.children.contains(member.name), let child = member.value.object {
                result[member.name] = .object(try child.completed(asChild: true))
            } else if Self.sizes.contains(member.name), let text = member.value.string,
                let bytes = try? SizeText.parse(text)
            {
                result[member.name] = .string(String(bytes))
            }
        }
        return result
    }

    /// The server of an NBD export by the words that were there before `server`: `path`, or `host` and `port`.
    private mutating func nameServer() {
        guard self["server"] == nil else { return }
        var server = JSONObject()
        if let path = self["path"] {
            server["type"] = "unix"
            server["path"] = path
        } else if let host = self["host"] {
            server["type"] = "inet"
            server["host"] = host
            server["port"] = self["port"] ?? "10809"
        } else {
            return
        }
        self["server"] = .object(server)
        for name in ["path", "host", "port"] { self[name] = nil }
    }

    /// What `other` has counts before what is here; objects are joined in turn.
    fileprivate mutating func join(_ other: JSONObject) {
        for member in other.members {
            if var own = self[member.name]?.object, let theirs = member.value.object {
                own.join(theirs)
                self[member.name] = .object(own)
            } else {
                self[member.name] = member.value
            }
        }
    }

    /// With dotted names as objects, and as lists where all are numbers: `{"file.filename": …}` is `{"file": {"filename": …}}`.
    fileprivate func nested() throws(QMPError) -> JSONObject {
        var result = JSONObject()
        for member in members {
            let value = try member.value.object.map { object throws(QMPError) in JSONValue.object(try object.nested()) }
            try result.set(
                member.name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)[...],
                value ?? member.value)
        }
        for member in result.members { result[member.name] = member.value.listed() }
        return result
    }

    private mutating func set(_ path: ArraySlice<String>, _ value: JSONValue) throws(QMPError) {
        guard let name = path.first else { return }
        if path.count == 1 {
            self[name] = value
        } else {
            guard self[name] == nil || self[name]?.object != nil else {
                throw QMPError("Parameters '\(name).*' used inconsistently")
            }
            var inner = self[name]?.object ?? JSONObject()
            try inner.set(path.dropFirst(), value)
            self[name] = .object(inner)
        }
    }
}

extension JSONValue {
    /// An object whose members are called 0, 1, … is a list.
    fileprivate func listed() -> JSONValue {
        guard let object else { return self }
        var list: [JSONValue] = []
        while let next = object[String(list.count)] { list.append(next.listed()) }
        if !list.isEmpty, list.count == object.count { return .array(list) }
        return .object(JSONObject(object.members.map { ($0.name, $0.value.listed()) }))
    }
}
