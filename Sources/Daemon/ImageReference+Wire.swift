package import Block
import Graph
package import Image
import JSON
import NBDClient
import QMPTypes

// Images as a user of the command line names them, beyond plain file names. None of this is ever asked what stands in an
// image.
extension ImageReference {
    /// Reads a file name: a plain one, `file:…`, `json:{…}`, `nbd:…`, `nbd://…` and its like. With `isOptions` (`--image-opts`)
    /// it is a node's options, `driver=qcow2,file.filename=…`.
    package init(
        reading text: String, isOptions: Bool, format: String? = nil, forceShare: Bool = false,
        cache: CacheMode = .writeback
    ) throws(OpenError) {
        self.init(
            try Self.place(text, isOptions: isOptions), text: text, format: format, forceShare: forceShare, cache: cache
        )
    }

    private static func place(_ text: String, isOptions: Bool) throws(OpenError) -> Place {
        do throws(QMPError) {
            if isOptions {
                guard text.contains("=") else {
                    throw QMPError("Cannot find device='\(text)' nor node-name='\(text)'")
                }
                let (object, isText) = try KeyValue.parse(text)
                return try place(object, isText: isText)
            }
            guard let name = PathText.protocolName(text) else { return .file(text) }
            let rest = String(text.dropFirst(name.count + 1))
            switch name {
            case "file": return .file(rest)
            case "json":
                let value: JSONValue
                do throws(JSONError) { value = try JSONValue.parse(rest) } catch {
                    throw QMPError("Could not parse the JSON options: \(error.message)")
                }
                guard let object = value.object else { throw QMPError("Invalid JSON object given") }
                return try place(object.nested(), isText: false)
            case _ where NBDName.isScheme(name):
                do throws(OpenError) {
                    guard let remote = try NBDName.parse(text) else { break }
                    return .storage(NodeOptions(.nbd(remote)))
                } catch { throw QMPError(error.message) }
            default: break
            }
            throw QMPError("Unknown protocol '\(name)'")
        } catch { throw OpenError(error.message) }
    }

    /// A node's options as a place. Without a driver, `file` alone says where the bytes are.
    private static func place(_ options: JSONObject, isText: Bool) throws(QMPError) -> Place {
        if options["driver"] != nil { return .node(try NodeOptions(options.completed(), isText: isText)) }
        guard let file = options["file"] else { throw QMPError("Must specify either driver or file") }
        if let other = options.members.first(where: { $0.name != "file" }) {
            throw QMPError("Must specify driver together with '\(other.name)'")
        }
        guard let below = file.object else {
            throw QMPError("Cannot find device='' nor node-name='\(file.string ?? "")'")
        }
        return .storage(try NodeOptions(below.completed(asChild: true), isText: isText))
    }
}

extension NodeOptions {
    /// A whole node of the command line.
    fileprivate init(_ options: JSONObject, isText: Bool) throws(QMPError) {
        let driver = options["driver"]?.string ?? ""
        guard BlockdevDriver(rawValue: driver) != nil else { throw QMPError("Unknown driver '\(driver)'") }
        do throws(QMPError) {
            try self.init(BlockdevOptions(QAPIInput(.object(options), isText: isText)))
        } catch {
            guard error.message == "Parameter 'file' is missing" else { throw error }
            throw QMPError("A block device must be specified for \"file\"")
        }
    }
}

extension JSONObject {
    /// Options whose values may be written as sizes where they are texts: `64k`, `1G`.
    private static let sizes: Set<String> = [
        "size", "offset", "cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size",
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

    /// With dotted names as objects: `{"file.filename": …}` is `{"file": {"filename": …}}`.
    fileprivate func nested() throws(QMPError) -> JSONObject {
        var result = JSONObject()
        for member in members {
            let value = try member.value.object.map { object throws(QMPError) in JSONValue.object(try object.nested()) }
            try result.set(
                member.name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)[...],
                value ?? member.value)
        }
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
