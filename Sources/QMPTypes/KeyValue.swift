public import JSON

/// `key=value,…` of the command line as an object: keys are dotted paths, digits index lists, a doubled comma stands for
/// one, and text of the form `{…}` is JSON. The errors are those of QEMU 7.2's programs.
public enum KeyValue {
    /// Bytes of one part of a key.
    private static let longestPart = 127
    /// Parts of one key: how deep the object may become.
    private static let deepest = 32

    /// Parses an option's text. `implied` is the key of a first part without `=`. `isText` says that every scalar in
    /// the object is a string.
    public static func parse(_ text: String, implied: String? = nil) throws(QMPError) -> (
        value: JSONObject, isText: Bool
    ) {
        if text.utf8.first == UInt8(ascii: "{") {
            let value: JSONValue
            do throws(JSONError) { value = try JSONValue.parse(text) } catch { throw QMPError(error.message) }
            guard let object = value.object else { throw QMPError("JSON parse error, expecting value") }
            return (object, false)
        }
        let tree = Tree()
        var rest = Substring(text).unicodeScalars
        var implied = implied
        while !rest.isEmpty {
            try parameter(&rest, implied: implied, into: tree)
            implied = nil
        }
        return (try tree.members(""), true)
    }

    /// Takes one parameter and the comma behind it.
    private static func parameter(
        _ rest: inout Substring.UnicodeScalarView, implied: String?, into tree: Tree
    ) throws(QMPError) {
        let end = rest.firstIndex { $0 == "=" || $0 == "," } ?? rest.endIndex
        let key = String(rest[..<end])
        if end < rest.endIndex, rest[end] == "=" {
            let parts = try path(key)
            rest = rest[rest.index(after: end)...]
            return try tree.set(parts[...], value(&rest), at: "")
        }
        if key == "help" || key == "?" { throw QMPError("Help is not available for this option") }
        if key.isEmpty { throw QMPError("Invalid parameter ''") }
        guard let implied else { throw QMPError("Expected '=' after parameter '\(key)'") }
        // A value without its key ends at the first comma, doubled or not.
        rest = rest[end...].dropFirst()
        try tree.set([implied], key, at: "")
    }

    /// Takes everything up to the next single comma, and that comma; two stand for one.
    private static func value(_ rest: inout Substring.UnicodeScalarView) -> String {
        var value = String.UnicodeScalarView()
        while let scalar = rest.popFirst() {
            if scalar == "," {
                guard rest.first == "," else { break }
                rest.removeFirst()
            }
            value.append(scalar)
        }
        return String(value)
    }

    private static func path(_ key: String) throws(QMPError) -> [String] {
        let parts = key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        for (index, part) in parts.enumerated() {
            let isNumber = index > 0 && !part.isEmpty && part.utf8.allSatisfy(isDigit)
            let isName =
                part.utf8.first.map(isLetter) ?? false
                && part.utf8.allSatisfy { isLetter($0) || isDigit($0) || $0 == 0x2D || $0 == 0x5F }
            guard isNumber || isName, part.utf8.count <= longestPart, parts.count <= deepest else {
                throw QMPError("Invalid parameter '\(key)'")
            }
        }
        return parts
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }

    /// What was set so far: a text, or parts below.
    private final class Tree {
        private var text: String?
        private var parts: [(name: String, tree: Tree)] = []

        func set(_ keys: ArraySlice<String>, _ value: String, at place: String) throws(QMPError) {
            guard let key = keys.first else {
                guard parts.isEmpty else { throw Self.inconsistent(place) }
                // The last of several equal keys counts.
                text = value
                return
            }
            guard text == nil else { throw Self.inconsistent(place) }
            let below = place.isEmpty ? key : "\(place).\(key)"
            if let found = parts.first(where: { $0.name == key }) {
                return try found.tree.set(keys.dropFirst(), value, at: below)
            }
            let tree = Tree()
            parts.append((key, tree))
            try tree.set(keys.dropFirst(), value, at: below)
        }

        private static func inconsistent(_ place: String) -> QMPError {
            QMPError("Parameters '\(place).*' used inconsistently")
        }

        func members(_ place: String) throws(QMPError) -> JSONObject {
            var object = JSONObject()
            for part in parts {
                object[part.name] = try part.tree.json(place.isEmpty ? part.name : "\(place).\(part.name)")
            }
            return object
        }

        private func json(_ place: String) throws(QMPError) -> JSONValue {
            if let text { return .string(text) }
            let numbered = parts.filter { $0.name.utf8.allSatisfy(KeyValue.isDigit) }.count
            if numbered == 0 { return .object(try members(place)) }
            guard numbered == parts.count else { throw Self.inconsistent(place) }
            var list: [JSONValue] = []
            for index in parts.indices {
                guard let part = parts.first(where: { Int($0.name) == index }) else {
                    throw QMPError("Parameter '\(place).\(index)' missing")
                }
                list.append(try part.tree.json("\(place).\(part.name)"))
            }
            return .array(list)
        }
    }
}
