public import JSON

/// `key=value,…` of the command line as an object: keys are dotted paths, digits index lists, a doubled comma stands for
/// one, and text of the form `{…}` is JSON.
public enum KeyValue {
    /// Parses an option's text. `implied` is the key of a first part without `=`.
    public static func parse(_ text: String, implied: String? = nil) throws(QMPError) -> (value: JSONObject, isText: Bool) {
        if text.first == "{" {
            let value: JSONValue
            do throws(JSONError) { value = try JSONValue.parse(text) } catch { throw QMPError(error.message) }
            guard let object = value.object else { throw QMPError("JSON parse error, expecting value") }
            return (object, false)
        }
        var tree = Tree()
        for (index, part) in split(text).enumerated() where !part.isEmpty {
            guard let equals = part.firstIndex(of: "=") else {
                guard index == 0, let implied else {
                    throw QMPError("No implicit parameter name for value '\(part)'")
                }
                try tree.set(path(implied), part, key: implied)
                continue
            }
            let key = String(part[..<equals])
            try tree.set(try path(key), String(part[part.index(after: equals)...]), key: key)
        }
        guard let object = try tree.json("").object else { throw QMPError("Parameters must have names") }
        return (object, true)
    }

    /// At single commas; a doubled one is part of a value.
    private static func split(_ text: String) -> [String] {
        var parts = [""]
        var index = text.startIndex
        while index < text.endIndex {
            let next = text.index(after: index)
            if text[index] != "," {
                parts[parts.count - 1].append(text[index])
            } else if next < text.endIndex, text[next] == "," {
                parts[parts.count - 1].append(",")
                index = text.index(after: next)
                continue
            } else {
                parts.append("")
            }
            index = next
        }
        return parts
    }

    private static func path(_ key: String) throws(QMPError) -> [String] {
        let fragments = key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        for fragment in fragments {
            let isName = fragment.first.map { $0.isLetter && $0.isASCII } ?? false
            let isIndex = !fragment.isEmpty && fragment.allSatisfy { $0.isASCII && $0.isNumber } && fragment.count < 5
            let isPlain = fragment.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
            guard (isName || isIndex) && isPlain, fragment.count < 128, fragments.count <= 32 else {
                throw QMPError("Invalid parameter '\(key)'")
            }
        }
        return fragments
    }

    /// What was set so far: a value, or fragments below.
    private indirect enum Node {
        case value(String)
        case tree(Tree)
    }

    private struct Tree {
        private var children: [(name: String, node: Node)] = []

        mutating func set(_ path: [String], _ value: String, key: String) throws(QMPError) {
            let rest = Array(path.dropFirst())
            let position = children.firstIndex { $0.name == path[0] }
            if rest.isEmpty {
                // The last of several equal keys counts.
                guard let position else { return children.append((path[0], .value(value))) }
                guard case .value = children[position].node else {
                    throw QMPError("Parameters '\(key).*' used inconsistently")
                }
                children[position].node = .value(value)
                return
            }
            var below = Tree()
            if let position {
                guard case .tree(let tree) = children[position].node else {
                    throw QMPError("Parameters '\(path[0]).*' used inconsistently")
                }
                below = tree
            }
            try below.set(rest, value, key: key)
            if let position { children[position].node = .tree(below) } else { children.append((path[0], .tree(below))) }
        }

        func json(_ prefix: String) throws(QMPError) -> JSONValue {
            let indices = children.compactMap { Int($0.name) }
            if !children.isEmpty, indices.count == children.count { return .array(try list(indices, prefix)) }
            guard indices.isEmpty else { throw QMPError("Parameters '\(prefix)*' used inconsistently") }
            var object = JSONObject()
            for child in children { object[child.name] = try value(child.node, prefix + child.name + ".") }
            return .object(object)
        }

        private func list(_ indices: [Int], _ prefix: String) throws(QMPError) -> [JSONValue] {
            var list: [JSONValue] = []
            for index in indices.indices {
                guard let position = indices.firstIndex(of: index) else {
                    throw QMPError("Parameter '\(prefix)\(index)' missing")
                }
                list.append(try value(children[position].node, prefix + "\(index)."))
            }
            return list
        }

        private func value(_ node: Node, _ prefix: String) throws(QMPError) -> JSONValue {
            switch node {
            case .value(let text): return .string(text)
            case .tree(let tree): return try tree.json(prefix)
            }
        }
    }
}
