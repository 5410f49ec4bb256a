import Image
import JSON

/// A QMP command as it is typed: `NAME key=value … {JSON}`, or a whole request in JSON.
struct QMPArguments {
    struct Mistake: Error, Equatable { let message: String }

    /// The request without an `id`.
    let request: JSONObject

    init(_ words: [String], schema: QMPSchema?) throws(Mistake) {
        guard let first = words.first else { throw Mistake(message: "no command") }
        if first.hasPrefix("{") {
            guard words.count == 1, let whole = try Self.parse(first).object else {
                throw Mistake(message: "a request in JSON stands alone")
            }
            request = whole
            return
        }
        var arguments = JSONObject()
        let type = schema?.argumentType(of: first)
        for word in words.dropFirst() {
            if word.hasPrefix("{") {
                guard let object = try Self.parse(word).object else { throw Mistake(message: "'\(word)' is no object") }
                for member in object.members { arguments[member.name] = member.value }
                continue
            }
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty else { throw Mistake(message: "'\(word)' is not key=value") }
            arguments = try Self.set(
                parts[0].split(separator: ".", omittingEmptySubsequences: false).map(String.init)[...], parts[1],
                in: arguments, type, schema)
        }
        var request = JSONObject()
        request["execute"] = .string(first)
        if !arguments.isEmpty { request["arguments"] = .object(arguments) }
        self.request = request
    }

    private static func parse(_ text: String) throws(Mistake) -> JSONValue {
        do { return try JSONValue.parse(text) } catch { throw Mistake(message: error.message) }
    }

    /// Sets the member that a dotted key names, objects being made on the way.
    private static func set(
        _ path: ArraySlice<String>, _ text: String, in object: JSONObject, _ type: String?, _ schema: QMPSchema?
    ) throws(Mistake) -> JSONObject {
        guard let name = path.first else { return object }
        var object = object
        let member = type.flatMap { schema?.members(of: $0)[name] }
        if path.count == 1 {
            object[name] = try value(text, member, schema)
        } else {
            let inner = object[name]?.object ?? JSONObject()
            object[name] = .object(try set(path.dropFirst(), text, in: inner, member, schema))
        }
        return object
    }

    /// A value as its type wants it. Without a known type, what looks like JSON is JSON, and the rest a string.
    private static func value(_ text: String, _ type: String?, _ schema: QMPSchema?) throws(Mistake) -> JSONValue {
        if text.hasPrefix("{") || text.hasPrefix("[") { return try parse(text) }
        switch type.flatMap({ schema?.jsonType(of: $0) }) {
        case "string": return .string(text)
        case "boolean":
            switch text {
            case "on", "true", "yes": return true
            case "off", "false", "no": return false
            default: return .string(text)
            }
        case "int":
            // Sizes are typed as everywhere: 64k, 10G.
            guard !text.hasPrefix("-"), let bytes = try? SizeText.parse(text) else { fallthrough }
            return JSONValue(bytes)
        case "number": return (try? JSONValue.parse(text)) ?? .string(text)
        case nil where type == nil:
            return ["true", "false", "null"].contains(text) || Int64(text) != nil ? try parse(text) : .string(text)
        default: return text == "null" ? .null : .string(text)
        }
    }

    /// Splits a typed line at spaces; quotes and braces hold words together.
    static func words(of line: String) throws(Mistake) -> [String] {
        var words: [String] = []
        var word = ""
        var began = false
        var quote: Character?
        var depth = 0
        for character in line {
            if let open = quote {
                // Inside JSON the quotes belong to the value.
                if character == open { quote = nil }
                if character != open || depth > 0 { word.append(character) }
            } else if character == "'" || character == "\"" {
                quote = character
                began = true
                if depth > 0 { word.append(character) }
            } else if character.isWhitespace, depth == 0 {
                if began || !word.isEmpty { words.append(word) }
                word = ""
                began = false
            } else {
                if character == "{" || character == "[" { depth += 1 }
                if character == "}" || character == "]" { depth -= 1 }
                word.append(character)
            }
        }
        guard quote == nil, depth <= 0 else { throw Mistake(message: "a quote or a bracket is not closed") }
        if began || !word.isEmpty { words.append(word) }
        return words
    }
}
