/// A list `key=value,key=value` as `-o` takes it. `,,` in a value is a comma; `key` alone is `key=on`, `nokey` is
/// `key=off`. A later value replaces an earlier one.
public struct OptionList: Equatable, Sendable {
    public private(set) var pairs: [(key: String, value: String)] = []

    public init() {}

    public init(_ text: String) {
        for item in Self.split(text) {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            if parts.count == 2 {
                pairs.append((parts[0], parts[1]))
            } else if parts[0].hasPrefix("no"), parts[0].count > 2 {
                pairs.append((String(parts[0].dropFirst(2)), "off"))
            } else {
                pairs.append((parts[0], "on"))
            }
        }
    }

    /// What is told of words without a value, whose time is over: `nofoo` is `foo=off`.
    public static func warnings(_ text: String) -> [String] {
        split(text).filter { !$0.contains("=") }.map { word in
            let meaning = word.hasPrefix("no") && word.count > 2 ? "\(word.dropFirst(2))=off" : "\(word)=on"
            return "short-form boolean option '\(word)' deprecated\nPlease use \(meaning) instead"
        }
    }

    public static func == (a: OptionList, b: OptionList) -> Bool {
        a.pairs.elementsEqual(b.pairs) { $0.key == $1.key && $0.value == $1.value }
    }

    public mutating func append(_ other: OptionList) { pairs += other.pairs }
    public mutating func set(_ key: String, _ value: String) { pairs.append((key, value)) }

    /// As it is written, each name once: the last of equal ones counts.
    public var text: String {
        var names: Set<String> = []
        let last = pairs.reversed().filter { names.insert($0.key).inserted }.reversed()
        return last.map { "\($0.key)=\($0.value.replacing(",", with: ",,"))" }.joined(separator: ",")
    }

    public subscript(key: String) -> String? { pairs.last { $0.key == key }?.value }

    /// Splits at single commas; doubled ones become one.
    private static func split(_ text: String) -> [String] {
        var items: [String] = []
        var item = ""
        var rest = text[...]
        while let character = rest.popFirst() {
            if character != "," {
                item.append(character)
            } else if rest.first == "," {
                item.append(",")
                rest.removeFirst()
            } else {
                items.append(item)
                item = ""
            }
        }
        items.append(item)
        return items
    }
}
