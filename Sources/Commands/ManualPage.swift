/// A manual page in roff, for man(7)'s macros: one command, and all below it that have no page of their own.
public struct ManualPage: Sendable {
    /// `nacre-img.1`.
    public var filename: String { name + ".1" }
    private let name: String
    private let path: String
    private let command: CommandSyntax
    /// Whether the commands below have pages of their own.
    private let isOverview: Bool
    private let version: String

    /// The pages of a program: its own, and one for each of its commands.
    public static func pages(of program: CommandSyntax, version: String) -> [ManualPage] {
        [ManualPage(program, [program.name], isOverview: true, version)]
            + program.shownCommands.map { ManualPage($0, [program.name, $0.name], isOverview: false, version) }
    }

    private init(_ command: CommandSyntax, _ path: [String], isOverview: Bool, _ version: String) {
        self.command = command
        self.isOverview = isOverview
        self.version = version
        name = path.joined(separator: "-")
        self.path = path.joined(separator: " ")
    }

    public var text: String {
        var lines = [
            ".\\\" Made from the tables of options; see \"nacre manuals\".",
            ".TH \(Self.plain(name.uppercased())) 1 \"\" \"\(Self.plain("nacre " + version))\" \"User Commands\"",
            ".SH NAME", "\(Self.plain(name)) \\- \(Self.plain(command.phrase))",
            ".SH SYNOPSIS",
        ]
        lines += synopsis(command, path)
        if !isOverview {
            for below in command.shownCommands { lines += [".br"] + synopsis(below, "\(path) \(below.name)") }
        }
        lines += [".SH DESCRIPTION"] + description(command)
        lines += options(of: command, heading: ".SH", ".SS")
        if !command.shownCommands.isEmpty { lines += isOverview ? overview : commands }
        lines += [".SH SEE ALSO", seeAlso]
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: sections

    private func synopsis(_ command: CommandSyntax, _ path: String) -> [String] {
        [".B \(Self.plain(path))", Self.plain(command.usage)]
    }

    private func description(_ command: CommandSyntax) -> [String] {
        ([command.summary] + command.details).flatMap { [".PP", Self.plain($0)] }.dropFirst().map { $0 }
            + items(command.operands.map { (".I \(Self.plain($0.value.placeholder))", $0.help) })
    }

    private func options(of command: CommandSyntax, heading: String, _ subheading: String) -> [String] {
        var lines: [String] = []
        for group in command.groups {
            lines += ["\(heading) \(heading == ".SH" ? Self.plain(group.title.uppercased()) : Self.plain(group.title))"]
            lines += items(group.options.map { (Self.head(of: $0), $0.help) })
        }
        if !command.exitCodes.isEmpty {
            lines += ["\(heading) \(heading == ".SH" ? "EXIT STATUS" : "Exit status")"]
            lines += items(command.exitCodes.map { (".B \($0.code)", $0.meaning) })
        }
        if !command.examples.isEmpty {
            lines += ["\(heading) \(heading == ".SH" ? "EXAMPLES" : "Examples")"]
        }
        return lines + command.examples.flatMap { example($0, of: command) }
    }

    private func example(_ example: CommandSyntax.Example, of command: CommandSyntax) -> [String] {
        let called = command.name == self.command.name ? path : "\(path) \(command.name)"
        let words = "\(called) \(example.words)".split(separator: "\n", omittingEmptySubsequences: false)
        return [".PP", Self.plain(example.meaning) + ":", ".PP", ".in +4n", ".EX"]
            + words.map { Self.plain(String($0)) } + [".EE", ".in"]
    }

    /// Each command that has no page of its own.
    private var commands: [String] {
        command.shownCommands.flatMap { below in
            [".SH \(Self.plain("\(path) \(below.name)".uppercased()))"] + description(below)
                + options(of: below, heading: ".SS", ".SS")
        }
    }

    private var overview: [String] {
        [".SH COMMANDS"]
            + items(command.shownCommands.map { (".BR \(Self.plain("\(name)-\($0.name)")) (1)", $0.summary) })
    }

    private var seeAlso: String {
        isOverview
            ? command.shownCommands.map { ".BR \(Self.plain("\(name)-\($0.name)")) (1)" }.joined(separator: ",\n")
            : ".BR \(Self.plain(String(name.prefix { $0 != "-" }))) (1)"
    }

    private func items(_ rows: [(head: String, text: String)]) -> [String] {
        rows.flatMap { [".TP", $0.head, Self.plain($0.text)] }
    }

    private static func head(of option: OptionSyntax) -> String {
        let names = option.spellings.map { "\\fB\(plain($0))\\fR" }.joined(separator: ", ")
        return names + (option.value.map { " \\fI\(plain($0.placeholder))\\fR" } ?? "")
    }

    /// Text that roff takes as it is.
    private static func plain(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "\\": result += "\\e"
            case "-": result += "\\-"
            case "'": result += "\\(aq"
            case "\"": result += "\\(dq"
            case "`": result += "\\(ga"
            case "^": result += "\\(ha"
            case "~": result += "\\(ti"
            case "…": result += "..."
            case "\n": result += " "
            default: result.append(character)
            }
        }
        return result.hasPrefix(".") ? "\\&" + result : result
    }
}
