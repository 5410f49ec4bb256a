/// One option of a command, described once: what reads it, the help, the manual page and the shells' completions all
/// come from here.
public struct OptionSyntax: Sendable {
    /// `--LONG`; what the option is known by.
    public let long: String
    /// `-S`.
    public let short: Character?
    /// What stands behind it; nil where it stands alone.
    public let value: ValueSyntax?
    public let group: OptionGroup
    /// Whether the command cannot do without it.
    public let isRequired: Bool
    /// What it does, in few words.
    public let help: String

    public init(
        _ long: String, short: Character? = nil, value: ValueSyntax? = nil, group: OptionGroup = .own,
        isRequired: Bool = false, _ help: String
    ) {
        self.long = long
        self.short = short
        self.value = value
        self.group = group
        self.isRequired = isRequired
        self.help = help
    }

    /// Every command has it.
    public static let help = OptionSyntax("help", short: "h", group: .general, "say this")

    /// `-f, --format FMT`, or with eight spaces before `--output FORM` where there is no letter.
    var head: String {
        let letter = short.map { "-\($0), " } ?? "    "
        return "\(letter)--\(long)" + (value.map { " " + $0.placeholder } ?? "")
    }

    /// How it may be written: `-f`, `--format`.
    var spellings: [String] { (short.map { ["-\($0)"] } ?? []) + ["--" + long] }
}

/// What stands behind an option or as an operand.
public struct ValueSyntax: Sendable, ExpressibleByStringLiteral {
    /// What a shell may complete it with.
    public enum Kind: Sendable, Equatable {
        case text, file, folder
        case words([String])
    }

    /// In capitals, or the words themselves.
    public let placeholder: String
    public let kind: Kind

    public init(_ placeholder: String, _ kind: Kind) {
        self.placeholder = placeholder
        self.kind = kind
    }

    public init(stringLiteral placeholder: String) { self.init(placeholder, .text) }

    public static func file(_ placeholder: String = "FILE") -> ValueSyntax { ValueSyntax(placeholder, .file) }
    public static func folder(_ placeholder: String = "FOLDER") -> ValueSyntax { ValueSyntax(placeholder, .folder) }

    /// One of some words, which are shown as they are unless there is a name for them.
    public static func oneOf(_ words: String..., as placeholder: String? = nil) -> ValueSyntax {
        ValueSyntax(placeholder ?? words.joined(separator: "|"), .words(words))
    }
}

/// Options that stand together in a help, under a heading.
public struct OptionGroup: Sendable, Hashable {
    public let title: String
    public init(_ title: String) { self.title = title }

    /// What the command is about.
    public static let own = OptionGroup("Options")
    public static let general = OptionGroup("General")
}
