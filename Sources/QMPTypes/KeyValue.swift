public import JSON

/// The option syntax of `--blockdev` and its kin: `key=value,key2.sub=value`, or JSON where the text starts with `{`.
///
/// Dots make objects, numbers as key parts make lists, `,,` stands for a comma in a value, and the first value may
/// stand without its key where the option has an implied one.
public enum KeyValue {
    /// A key longer than this is refused, as in QEMU.
    private static let longestKey = 127

    /// A cursor over what `text` says: the generated types decode it with the texts of qemu-storage-daemon.
    public static func cursor(_ text: String, impliedKey: String? = nil) throws(QMPError) -> SchemaCursor {
        if text.hasPrefix("{") {
            do throws(JSONError) {
                return SchemaCursor(try JSONValue.parse(text), style: .json)
            } catch {
                throw QMPError(error.description)
            }
        }
        return SchemaCursor(try parse(text, impliedKey: impliedKey), style: .keyValue)
    }

    /// The tree of strings that `text` stands for.
    public static func parse(_ text: String, impliedKey: String? = nil) throws(QMPError) -> JSONValue {
        let root = KeyValueNode()
        var rest = Substring(text)
        var implied = impliedKey
        while !rest.isEmpty {
            try parameter(&rest, implied: implied, into: root)
            implied = nil
        }
        return try root.json(path: "")
    }

    private static func parameter(_ rest: inout Substring, implied: String?, into root: KeyValueNode) throws(QMPError) {
        let end = rest.firstIndex { $0 == "=" || $0 == "," } ?? rest.endIndex
        let key = String(rest[..<end])
        if end < rest.endIndex, rest[end] == "=" {
            let parts = try keyParts(key)
            rest = rest[rest.index(after: end)...]
            return try root.insert(takeValue(&rest), at: parts[...], path: "")
        }
        if key == "help" || key == "?" { throw QMPError("Help is not available for this option") }
        if key.isEmpty { throw QMPError("Invalid parameter ''") }
        guard let implied else { throw QMPError("Expected '=' after parameter '\(key)'") }
        // Doubled commas mean nothing in a value without its key.
        rest = rest[end...].dropFirst()
        try root.insert(key, at: [implied], path: "")
    }

    /// Everything up to the next single comma, which is taken as well; two stand for one.
    private static func takeValue(_ rest: inout Substring) -> String {
        var value = ""
        while let character = rest.popFirst() {
            if character == "," {
                guard rest.first == "," else { break }
                rest.removeFirst()
            }
            value.append(character)
        }
        return value
    }

    private static func keyParts(_ key: String) throws(QMPError) -> [String] {
        let parts = key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        for (index, part) in parts.enumerated() {
            let isNumber = index > 0 && !part.isEmpty && part.utf8.allSatisfy { (0x30...0x39).contains($0) }
            guard isNumber || isName(part), part.utf8.count <= longestKey else {
                throw QMPError("Invalid parameter '\(key)'")
            }
        }
        return parts
    }

    /// A letter, then letters, digits, `-` and `_`.
    private static func isName(_ part: String) -> Bool {
        guard let first = part.utf8.first, isLetter(first) else { return false }
        return part.utf8.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || $0 == 0x2D || $0 == 0x5F }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }
}

/// A place in the tree while it grows: a value, or parts by name.
private final class KeyValueNode {
    /// As long as the deepest nesting that a JSON text may have.
    private static let deepest = 64

    private var value: String?
    private var parts: [(name: String, node: KeyValueNode)] = []

    func insert(_ text: String, at keys: ArraySlice<String>, path: String) throws(QMPError) {
        guard let key = keys.first else {
            guard parts.isEmpty else { throw Self.inconsistent(path) }
            value = text
            return
        }
        guard value == nil else { throw Self.inconsistent(path) }
        guard keys.count <= Self.deepest else { throw QMPError("Parameter '\(path)' is nested too deeply") }
        let place = path.isEmpty ? key : path + "." + key
        if let found = parts.first(where: { $0.name == key }) {
            return try found.node.insert(text, at: keys.dropFirst(), path: place)
        }
        let node = KeyValueNode()
        parts.append((key, node))
        try node.insert(text, at: keys.dropFirst(), path: place)
    }

    private static func inconsistent(_ path: String) -> QMPError { QMPError("Parameters '\(path).*' used inconsistently") }

    func json(path: String) throws(QMPError) -> JSONValue {
        if let value { return .string(value) }
        func place(_ name: String) -> String { path.isEmpty ? name : path + "." + name }
        let numbers = parts.compactMap { part in part.name.utf8.first.map { (0x30...0x39).contains($0) } }
        guard let isList = numbers.first, numbers.contains(!isList) == false else {
            if parts.isEmpty { return .object(JSONObject()) }
            throw Self.inconsistent(path)
        }
        if !isList {
            var object = JSONObject()
            for part in parts { object[part.name] = try part.node.json(path: place(part.name)) }
            return .object(object)
        }
        var elements: [JSONValue] = []
        for index in parts.indices {
            guard let part = parts.first(where: { Int($0.name) == index }) else {
                throw QMPError("Parameter '\(place(String(index)))' missing")
            }
            elements.append(try part.node.json(path: place(part.name)))
        }
        return .array(elements)
    }
}
