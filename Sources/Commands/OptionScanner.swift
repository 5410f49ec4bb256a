/// Splits a command line into options and operands in their order, as the GNU form of `getopt_long` does: `-fqcow2`,
/// `-f qcow2`, `--output=json`, `--output json`, unambiguous beginnings of long names, `--` before operands.
public struct OptionScanner {
    public enum Item: Sendable {
        /// `words` is the option as it was written, for messages.
        case option(OptionSyntax, value: String?, words: String)
        case operand(String)
    }

    public enum Mistake: Error, Equatable {
        case unknownLong(String)
        case unknownShort(Character, word: String)
        case ambiguous(String, [String])
        case missingValue(word: String, short: Character?)
        case unexpectedValue(String)
    }

    private let options: [OptionSyntax]
    private let stopsAtOperand: Bool

    /// `stopsAtOperand`: what stands behind an operand are operands too.
    public init(_ options: [OptionSyntax], stopsAtOperand: Bool = false) {
        self.options = options
        self.stopsAtOperand = stopsAtOperand
    }

    public func scan(_ arguments: [String]) throws(Mistake) -> [Item] {
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
                guard stopsAtOperand else { continue }
                items += rest.map { .operand($0) }
                break
            }
        }
        return items
    }

    private func long(_ word: String, _ rest: inout ArraySlice<String>) throws(Mistake) -> Item {
        let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let given = String(parts[0])
        let candidates = options.filter { $0.long.hasPrefix(given) }
        guard
            let option = candidates.first(where: { $0.long == given }) ?? (candidates.count == 1 ? candidates[0] : nil)
        else {
            if candidates.isEmpty { throw .unknownLong("--" + given) }
            throw .ambiguous("--" + given, candidates.map { "--" + $0.long })
        }
        if parts.count == 2 {
            guard option.value != nil else { throw .unexpectedValue("--" + option.long) }
            return .option(option, value: String(parts[1]), words: word)
        }
        guard option.value != nil else { return .option(option, value: nil, words: word) }
        guard let value = rest.popFirst() else { throw .missingValue(word: "--" + option.long, short: nil) }
        return .option(option, value: value, words: word + " " + value)
    }

    private func short(_ word: String, _ rest: inout ArraySlice<String>) throws(Mistake) -> [Item] {
        var items: [Item] = []
        var letters = word.dropFirst()
        while let letter = letters.popFirst() {
            guard let option = options.first(where: { $0.short == letter }) else {
                throw .unknownShort(letter, word: word)
            }
            guard option.value != nil else {
                items.append(.option(option, value: nil, words: "-\(letter)"))
                continue
            }
            if !letters.isEmpty {
                items.append(.option(option, value: String(letters), words: word))
                return items
            }
            guard let value = rest.popFirst() else { throw .missingValue(word: "-\(letter)", short: letter) }
            items.append(.option(option, value: value, words: "-\(letter) \(value)"))
        }
        return items
    }
}

extension OptionScanner.Mistake {
    /// In the words of the C library's `getopt_long`, without the program's name.
    public var message: String {
        switch self {
        case .unknownLong(let word): "unrecognized option '\(word)'"
        case .unknownShort(let letter, _): "invalid option -- '\(letter)'"
        case .ambiguous(let word, let names):
            "option '\(word)' is ambiguous; possibilities: \(names.map { "'\($0)'" }.joined(separator: " "))"
        case .missingValue(let word, nil): "option '\(word)' requires an argument"
        case .missingValue(_, let letter?): "option requires an argument -- '\(letter)'"
        case .unexpectedValue(let word): "option '\(word)' doesn't allow an argument"
        }
    }
}
