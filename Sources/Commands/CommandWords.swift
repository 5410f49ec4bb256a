/// A command line, read by a command's table: its options in their order, and its operands.
public struct CommandWords: Sendable {
    /// An option as it was given.
    public struct Given: Sendable {
        public let option: OptionSyntax
        /// Empty where it takes none.
        public let value: String
        /// As it was written, for messages.
        public let words: String
    }

    /// In their order, with repetitions.
    public let options: [Given]
    public let operands: [String]
    /// How many words there were.
    public let count: Int

    public func has(_ option: OptionSyntax) -> Bool { options.contains { $0.option.long == option.long } }

    /// The value of the option, the last one where it was given more than once.
    public subscript(_ option: OptionSyntax) -> String? { options.last { $0.option.long == option.long }?.value }

    public func all(_ option: OptionSyntax) -> [String] {
        options.filter { $0.option.long == option.long }.map(\.value)
    }
}

extension CommandSyntax {
    /// Reads a command line, which begins behind the command's name.
    public func read(_ words: [String]) throws(OptionScanner.Mistake) -> CommandWords {
        var words = words
        let count = words.count
        var last: String?
        if order == .lastIsOperand, let word = words.last, !OptionSyntax.help.spellings.contains(word) {
            last = words.removeLast()
        }
        let scanner = OptionScanner(options, stopsAtOperand: order == .optionsFirst || !commands.isEmpty)
        var given: [CommandWords.Given] = []
        var operands: [String] = []
        for item in try scanner.scan(words) {
            switch item {
            case .operand(let word): operands.append(word)
            case .option(let option, let value, let words):
                given.append(CommandWords.Given(option: option, value: value ?? "", words: words))
            }
        }
        if let last { operands.append(last) }
        return CommandWords(options: given, operands: operands, count: count)
    }
}
