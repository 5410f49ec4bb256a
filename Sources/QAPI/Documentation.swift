/// The comment of a definition, taken apart. All texts are Markdown.
public struct Documentation: Sendable {
    /// What the definition is, before the first member.
    public var text = ""
    /// Member or enumeration value → its text, in order.
    public var members: [(name: String, text: String)] = []
    public var features: [(name: String, text: String)] = []
    /// `Returns`, `Errors`, `Since`, `Note`, … in order.
    public var sections: [(title: String, text: String)] = []

    private static let titles = ["Returns", "Errors", "Since", "Note", "Example", "Order", "Differs"]

    public func member(_ name: String) -> String? { members.first { $0.name == name }?.text }

    /// Reads the lines of a block whose first line is `@name:`.
    init(lines: [String], name: String, file: String, line: Int) throws(SchemaError) {
        guard lines.first == "@\(name):" else {
            throw SchemaError("the documentation of '\(name)' starts with '@\(name):'", file: file, line: line)
        }
        var place = Place.text
        for line in lines.dropFirst() {
            if line == "Features:" {
                place = .noFeature
            } else if let (title, rest) = Self.split(line, after: "@") {
                if place.isFeature {
                    features.append((title, rest))
                    place = .feature
                } else {
                    members.append((title, rest))
                    place = .member
                }
            } else if let (title, rest) = Self.split(line, after: ""), Self.titles.contains(title) {
                sections.append((title, rest))
                place = .section
            } else {
                append(line, to: place)
            }
        }
        trim()
    }

    private enum Place {
        case text, member, noFeature, feature, section
        var isFeature: Bool { self == .feature || self == .noFeature }
    }

    /// `mark` name `:` text → name, text. Nil where the line is none.
    private static func split(_ line: String, after mark: String) -> (String, String)? {
        guard line.hasPrefix(mark), let colon = line.firstIndex(of: ":") else { return nil }
        let name = line[..<colon].dropFirst(mark.count)
        guard !name.isEmpty, !name.contains(" ") else { return nil }
        let rest = line[line.index(after: colon)...]
        guard rest.isEmpty || rest.hasPrefix(" ") else { return nil }
        return (String(name), String(rest.drop { $0 == " " }))
    }

    private mutating func append(_ line: String, to place: Place) {
        func join(_ old: String) -> String { old.isEmpty ? line : old + "\n" + line }
        switch place {
        case .text: text = join(text)
        case .member: members[members.count - 1].text = join(members[members.count - 1].text)
        case .feature: features[features.count - 1].text = join(features[features.count - 1].text)
        case .section: sections[sections.count - 1].text = join(sections[sections.count - 1].text)
        case .noFeature: break
        }
    }

    private mutating func trim() {
        func trimmed(_ text: String) -> String {
            var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            while lines.first?.isEmpty == true { lines.removeFirst() }
            while lines.last?.isEmpty == true { lines.removeLast() }
            return lines.joined(separator: "\n")
        }
        text = trimmed(text)
        for index in members.indices { members[index].text = trimmed(members[index].text) }
        for index in features.indices { features[index].text = trimmed(features[index].text) }
        for index in sections.indices { sections[index].text = trimmed(sections[index].text) }
    }
}
