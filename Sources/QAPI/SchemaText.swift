import JSON

/// Why a schema cannot be used: where, and what is wrong.
public struct SchemaError: Error, CustomStringConvertible {
    public let place: String
    public let message: String
    public var description: String { "\(place): \(message)" }

    init(_ place: String, _ message: String) {
        self.place = place
        self.message = message
    }
}

/// One expression of a schema file with the documentation that stands before it.
struct SchemaExpression {
    let object: JSONObject
    let documentation: Documentation
    /// File and line, for errors.
    let place: String
}

/// What the comment block before a definition says.
public struct Documentation: Sendable, Equatable {
    /// The text before the first member.
    public var summary: String = ""
    public var members: [String: String] = [:]
    public var returns: String?
    /// Flags by name: the members after a line `Features:`.
    public var features: [String: String] = [:]

    /// The lines of a block between two `##`, without their `#`: `@name:` begins a member, `Returns:` the answer, any
    /// other line continues what it follows.
    init(lines: [String]) {
        var target: String? = nil
        var isReturn = false
        var isFeature = false
        for line in lines {
            let text = line.trimmingSpaces
            if text == "Features:" {
                isFeature = true
                target = nil
            } else if text.hasPrefix("@"), let colon = text.firstIndex(of: ":"), !text[..<colon].contains(" ") {
                let name = String(text[text.index(after: text.startIndex)..<colon])
                // The block's own name stands alone on its line and begins nothing.
                let rest = String(text[text.index(after: colon)...]).trimmingSpaces
                if rest.isEmpty, target == nil, summary.isEmpty, members.isEmpty { continue }
                target = name
                isReturn = false
                if isFeature { features[name] = rest } else { members[name] = rest }
            } else if text.hasPrefix("Returns:") {
                isReturn = true
                returns = String(text.dropFirst(8)).trimmingSpaces
            } else if isReturn {
                returns = Self.join(returns ?? "", text)
            } else if let target {
                if isFeature {
                    features[target] = Self.join(features[target] ?? "", text)
                } else {
                    members[target] = Self.join(members[target] ?? "", text)
                }
            } else {
                summary = Self.join(summary, text)
            }
        }
    }

    private static func join(_ one: String, _ other: String) -> String {
        if other.isEmpty { return one }
        return one.isEmpty ? other : one + " " + other
    }
}

extension String {
    var trimmingSpaces: String {
        let spaces: Set<Character> = [" ", "\t", "\r"]
        guard let start = firstIndex(where: { !spaces.contains($0) }),
            let end = lastIndex(where: { !spaces.contains($0) })
        else { return "" }
        return String(self[start...end])
    }
}

/// Reads schema files: JSON expressions in single quotes, `#` comments, and documentation between lines of `##`.
enum SchemaText {
    static func expressions(of text: String, file: String) throws(SchemaError) -> [SchemaExpression] {
        var result: [SchemaExpression] = []
        var stream = JSONStream()
        var block: [String]?
        var documentation = Documentation(lines: [])
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let trimmed = String(line).trimmingSpaces
            let place = "\(file):\(number + 1)"
            if trimmed == "##" {
                if let lines = block { documentation = Documentation(lines: lines) }
                block = block == nil ? [] : nil
                continue
            }
            if block != nil {
                guard trimmed.hasPrefix("#") else { throw SchemaError(place, "documentation without a closing ##") }
                block?.append(String(trimmed.dropFirst()))
                continue
            }
            for value in stream.feed((withoutComment(String(line)) + "\n").utf8) {
                let object: JSONObject?
                do { object = try value.get().object } catch { throw SchemaError(place, error.message) }
                guard let object else { throw SchemaError(place, "an expression is an object") }
                result.append(SchemaExpression(object: object, documentation: documentation, place: place))
                documentation = Documentation(lines: [])
            }
        }
        if block != nil { throw SchemaError(file, "documentation without a closing ##") }
        if stream.isUnfinished { throw SchemaError(file, "the last expression has no end") }
        return result
    }

    private static func withoutComment(_ line: String) -> String {
        var quoted = false
        for index in line.indices {
            if line[index] == "'" { quoted.toggle() }
            if line[index] == "#", !quoted { return String(line[..<index]) }
        }
        return line
    }
}
