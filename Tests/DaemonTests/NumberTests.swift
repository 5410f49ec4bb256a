import Block
import BlockTestKit
import JSON
import Testing

/// Every number that a client can give, at its ends: none of them ends the process.
@Suite("Numbers at their ends")
struct NumberTests {
    static let extremes: [JSONValue] = [
        0, 1, -1, 511, .int(.max), .int(.min), .uint(.max), .int(1 << 62), 1_000_000_000_000,
    ]

    @Test("no integer of any command's arguments traps, nor does what is done with the node that it made")
    func everyInteger() throws {
        let schema = try Bench().schema()
        var tried = 0
        for command in schema.commands where command.name != "quit" {
            for arguments in schema.variants(of: command) {
                try Self.carryOut(command.name, arguments)
                tried += 1
            }
        }
        // A few dozen integers, each at each end.
        #expect(tried > 200)
    }

    /// On a daemon of its own: a file, an image on it, a node, an NBD server.
    private static func carryOut(_ command: String, _ arguments: JSONValue) throws {
        let bench = Bench()
        try bench.run {
            let client = try await bench.client()
            for (command, arguments) in [
                ("blockdev-add", ["driver": "file", "node-name": "prot", "filename": "/raw"]),
                ("blockdev-add", ["driver": "null-co", "node-name": "n"]),
                ("nbd-server-start", ["addr": ["type": "unix", "data": ["path": "/s"]]]),
            ] as [(String, JSONValue)] {
                try await client.call(command, arguments)
            }
            _ = try await client.call(command, arguments)
            for node in ["new", "n"] {
                let export: JSONValue = ["type": "nbd", "id": "e", "node-name": .string(node), "writable": true]
                guard try await client.call("block-export-add", export)["return"] != nil else { continue }
                let nbd = try await bench.nbd(node)
                try await nbd.send(0, at: 0, 512)
                try await nbd.send(1, at: 0, 512, payload: [UInt8](repeating: 1, count: 512))
                try await nbd.send(3, at: 0, 0)
                await bench.context.sleep(ms: 2000)
                nbd.close()
                try await client.call("block-export-del", ["id": "e", "mode": "hard"])
            }
            try await client.call("query-named-block-nodes")
        }
    }
}

extension Bench {
    /// What the daemon says of itself.
    fileprivate func schema() throws -> Introspection {
        try run {
            let client = try await self.client()
            return Introspection(try await client.call("query-qmp-schema")["return"]?.array ?? [])
        }
    }
}

/// The answer of `query-qmp-schema`, read to make arguments from it.
private struct Introspection {
    struct Command {
        let name: String
        let arguments: String
    }

    private let types: [String: JSONValue]
    let commands: [Command]

    init(_ entries: [JSONValue]) {
        types = Dictionary(uniqueKeysWithValues: entries.map { ($0["name"]?.string ?? "", $0) })
        commands = entries.filter { $0["meta-type"] == "command" }.map {
            Command(name: $0["name"]?.string ?? "", arguments: $0["arg-type"]?.string ?? "")
        }
    }

    func variants(of command: Command) -> [JSONValue] { variants(command.arguments, depth: 0) }

    /// Deeper than this a description holds only itself.
    private static let depth = 5

    /// A plain value of a type, so that the rest of a command holds.
    private func plain(_ type: String, member: String = "", depth: Int) -> JSONValue {
        guard let entry = types[type], depth <= Self.depth else { return "prot" }
        switch entry["meta-type"]?.string {
        case "builtin":
            switch entry["json-type"]?.string {
            case "int", "number": return 1
            case "boolean": return false
            case "null": return nil
            case "string": return .string(Self.text(for: member))
            default: return "x"
            }
        case "enum": return entry["values"]?.array?.first ?? "x"
        case "array": return [plain(entry["element-type"]?.string ?? "", depth: depth + 1)]
        case "alternate":
            return alternatives(entry).contains("str")
                ? "prot" : plain(alternatives(entry).first ?? "", depth: depth + 1)
        default: return .object(object(entry, branch: branches(entry).first, depth: depth))
        }
    }

    private static func text(for member: String) -> String {
        switch member {
        case "filename", "snapshot-file": "/raw"
        case "node-name": "new"
        case "device", "node": "n"
        default: "prot"
        }
    }

    private func alternatives(_ entry: JSONValue) -> [String] {
        entry["members"]?.array?.compactMap { $0["type"]?.string } ?? []
    }

    private func branches(_ entry: JSONValue) -> [(name: String, type: String)] {
        entry["variants"]?.array?.compactMap {
            guard let name = $0["case"]?.string, let type = $0["type"]?.string else { return nil }
            return (name, type)
        } ?? []
    }

    /// The members that are needed.
    private func object(_ entry: JSONValue, branch: (name: String, type: String)?, depth: Int) -> JSONObject {
        var result = JSONObject()
        for member in entry["members"]?.array ?? []
        where member.object?["default"] == nil || member["name"] == "node-name" {
            let name = member["name"]?.string ?? ""
            // Only the outermost node has a name of its own.
            if name == "node-name", depth > 1, member.object?["default"] != nil { continue }
            result[name] = plain(member["type"]?.string ?? "", member: name, depth: depth + 1)
        }
        if let branch, let tag = entry["tag"]?.string {
            result[tag] = .string(branch.name)
            if let body = types[branch.type] {
                for (name, value) in object(body, branch: branches(body).first, depth: depth).members {
                    result[name] = value
                }
            }
        }
        return result
    }

    /// Values of a type in each of which one integer is at one of its ends.
    private func variants(_ type: String, depth: Int) -> [JSONValue] {
        guard let entry = types[type], depth <= Self.depth else { return [] }
        switch entry["meta-type"]?.string {
        case "builtin": return entry["json-type"] == "int" ? NumberTests.extremes : []
        case "enum": return []
        case "array": return variants(entry["element-type"]?.string ?? "", depth: depth + 1).map { [$0] }
        case "alternate": return alternatives(entry).flatMap { variants($0, depth: depth + 1) }
        default:
            let branches = branches(entry)
            let shared = members(of: entry, in: object(entry, branch: branches.first, depth: depth), depth: depth)
            return shared
                + branches.flatMap { branch -> [JSONValue] in
                    guard let body = types[branch.type] else { return [] }
                    return members(of: body, in: object(entry, branch: branch, depth: depth), depth: depth)
                }
        }
    }

    private func members(of entry: JSONValue, in base: JSONObject, depth: Int) -> [JSONValue] {
        (entry["members"]?.array ?? []).flatMap { member -> [JSONValue] in
            let name = member["name"]?.string ?? ""
            return variants(member["type"]?.string ?? "", depth: depth + 1).map { value in
                var whole = base
                whole[name] = value
                return .object(whole)
            }
        }
    }
}
