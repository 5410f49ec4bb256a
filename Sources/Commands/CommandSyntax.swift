/// A command of the program, described once: its options and operands, a sentence, examples, and the commands below it.
public struct CommandSyntax: Sendable {
    /// What a command takes beside options.
    public struct Operand: Sendable {
        public enum Count: Sendable { case one, optional, some, any }
        public let value: ValueSyntax
        public let count: Count
        public let help: String

        public init(_ value: ValueSyntax, count: Count = .one, _ help: String) {
            self.value = value
            self.count = count
            self.help = help
        }

        /// As the usage line has it: `[SIZE]`, `FILE…`.
        var usage: String {
            switch count {
            case .one: value.placeholder
            case .optional: "[\(value.placeholder)]"
            case .some: "\(value.placeholder)…"
            case .any: "[\(value.placeholder)…]"
            }
        }
    }

    /// A command line without the words that name the command, and what it does.
    public struct Example: Sendable {
        public let words: String
        public let meaning: String

        public init(_ words: String, _ meaning: String) {
            self.words = words
            self.meaning = meaning
        }
    }

    /// In which order words may stand.
    public enum Order: Sendable {
        case any
        /// Behind the first operand everything is an operand.
        case optionsFirst
        /// The last word is an operand, whatever it looks like: `-1G`.
        case lastIsOperand
    }

    public let name: String
    /// One sentence.
    public let summary: String
    /// Further paragraphs.
    public let details: [String]
    public let order: Order
    public let operands: [Operand]
    /// With `--help`, which every command has.
    public let options: [OptionSyntax]
    public let examples: [Example]
    /// What exit codes mean, where they say more than success or failure.
    public let exitCodes: [(code: Int32, meaning: String)]
    public let commands: [CommandSyntax]
    /// Whether no help tells of it.
    public let isHidden: Bool

    public init(
        _ name: String, _ summary: String, details: [String] = [], order: Order = .any, operands: [Operand] = [],
        options: [OptionSyntax] = [], examples: [Example], exitCodes: [(code: Int32, meaning: String)] = [],
        commands: [CommandSyntax] = [], isHidden: Bool = false
    ) {
        self.name = name
        self.summary = summary
        self.details = details
        self.order = order
        self.operands = operands
        self.options = options + [.help]
        self.examples = examples
        self.exitCodes = exitCodes
        self.commands = commands
        self.isHidden = isHidden
    }

    /// The options under their headings, in the order in which the headings come first; what every program has is last.
    var groups: [(title: String, options: [OptionSyntax])] {
        var titles: [OptionGroup] = []
        for option in options where !titles.contains(option.group) && option.group != .general {
            titles.append(option.group)
        }
        return (titles + [.general]).map { group in (group.title, options.filter { $0.group == group }) }
    }

    var shownCommands: [CommandSyntax] { commands.filter { !$0.isHidden } }

    /// What stands behind the command's name in its usage line.
    var usage: String {
        let required = options.filter(\.isRequired).map { option in
            (option.short.map { "-\($0)" } ?? "--" + option.long) + (option.value.map { " " + $0.placeholder } ?? "")
        }
        let rest = commands.isEmpty ? operands.map(\.usage) : ["COMMAND …"]
        return (required + ["[OPTION…]"] + rest).joined(separator: " ")
    }
}
