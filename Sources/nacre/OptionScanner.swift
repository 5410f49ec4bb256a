/// Splits a command line into options and operands in their order, as the GNU form of `getopt_long` does: `-fqcow2`,
/// `-f qcow2`, `--output=json`, `--output json`, unambiguous beginnings of long names, `--` before operands.
struct OptionScanner {
    struct Option: Sendable {
        let long: String?
        let short: Character?
        let takesValue: Bool

        init(_ long: String?, short: Character? = nil, takesValue: Bool = false) {
            self.long = long
            self.short = short
            self.takesValue = takesValue
        }

        /// How a command refers to the option: its long name, or its letter.
        var name: String { long ?? short.map(String.init) ?? "" }
    }

    enum Item: Equatable {
        /// `words` is the option as it was written, for messages.
        case option(name: String, value: String?, words: String)
        case operand(String)
    }

    enum Mistake: Error, Equatable {
        case unknownLong(String)
        case unknownShort(Character, word: String)
        case ambiguous(String, [String])
        case missingValue(word: String, short: Character?)
        case unexpectedValue(String)
    }

    private let options: [Option]

    init(_ options: [Option]) { self.options = options }

    func scan(_ arguments: [String]) throws(Mistake) -> [Item] {
        var items: [Item] = []
        var rest = arguments[...]
        while let word = rest.popFirst() {
            if word == "--" {
                items += rest.map { .operand($0) }
                break
            } else if word.hasPrefix("--") {
                items.append(try long(word, &rest))
            } else if word.hasPrefix("-"), word.count > 1 {
                items += try short(word, &rest)
            } else {
                items.append(.operand(word))
            }
        }
        return items
    }

    private func long(_ word: String, _ rest: inout ArraySlice<String>) throws(Mistake) -> Item {
        let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let given = String(parts[0])
        let candidates = options.filter { $0.long?.hasPrefix(given) == true }
        guard
            let option = candidates.first(where: { $0.long == given }) ?? (candidates.count == 1 ? candidates[0] : nil)
        else {
            if candidates.isEmpty { throw .unknownLong("--" + given) }
            throw .ambiguous("--" + given, candidates.map { "--" + $0.name })
        }
        if parts.count == 2 {
            guard option.takesValue else { throw .unexpectedValue("--" + option.name) }
            return .option(name: option.name, value: String(parts[1]), words: word)
        }
        guard option.takesValue else { return .option(name: option.name, value: nil, words: word) }
        guard let value = rest.popFirst() else { throw .missingValue(word: "--" + option.name, short: nil) }
        return .option(name: option.name, value: value, words: word + " " + value)
    }

    private func short(_ word: String, _ rest: inout ArraySlice<String>) throws(Mistake) -> [Item] {
        var items: [Item] = []
        var letters = word.dropFirst()
        while let letter = letters.popFirst() {
            guard let option = options.first(where: { $0.short == letter }) else {
                throw .unknownShort(letter, word: word)
            }
            guard option.takesValue else {
                items.append(.option(name: option.name, value: nil, words: "-\(letter)"))
                continue
            }
            if !letters.isEmpty {
                items.append(.option(name: option.name, value: String(letters), words: word))
                return items
            }
            guard let value = rest.popFirst() else { throw .missingValue(word: "-\(letter)", short: letter) }
            items.append(.option(name: option.name, value: value, words: "-\(letter) \(value)"))
        }
        return items
    }
}
