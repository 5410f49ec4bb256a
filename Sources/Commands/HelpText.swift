extension CommandSyntax {
    /// What `--help` says, 80 columns wide. `program` is what the command was called as: `nacre img create`, `qemu-img`.
    public func help(as program: String) -> String {
        var parts = ["usage: \(program) \(usage)\n\(Self.filled(summary, indent: 0))"]
        parts += details.map { Self.filled($0, indent: 0) }
        let rows = operands.map { ($0.value.placeholder, $0.help) }
        if !rows.isEmpty { parts.append(Self.table(rows)) }
        if !shownCommands.isEmpty {
            parts.append("Commands\n" + Self.table(shownCommands.map { ($0.name, $0.phrase) }))
        }
        let column = Self.column(of: options.map(\.head))
        parts += groups.map { group in
            "\(group.title)\n" + Self.table(group.options.map { ($0.head, $0.help) }, column: column)
        }
        if !exitCodes.isEmpty {
            parts.append("Exit status\n" + Self.table(exitCodes.map { ("\($0.code)", $0.meaning) }))
        }
        if !examples.isEmpty {
            let lines = examples.map { example in
                "  \(program) \(example.words)\n" + Self.filled(example.meaning, indent: 6)
            }
            parts.append((examples.count == 1 ? "Example" : "Examples") + "\n" + lines.joined())
        }
        if !shownCommands.isEmpty { parts.append("\(program) COMMAND --help tells of one command.\n") }
        return parts.joined(separator: "\n")
    }

    /// The summary inside a list: without its full stop.
    var phrase: String {
        guard let first = summary.first else { return "" }
        let rest = summary.dropFirst()
        return first.lowercased() + (rest.last == "." ? rest.dropLast() : rest)
    }

    private static let width = 80
    /// The column where the right side of a table begins, at the most; what is longer on the left has a line of its own.
    private static let widestHead = 26

    private static func column(of heads: [String]) -> Int {
        (heads.map(\.count).filter { $0 + 4 <= widestHead }.max() ?? widestHead - 4) + 4
    }

    /// Two columns, the second one at `column`.
    private static func table(_ rows: [(head: String, text: String)], column: Int? = nil) -> String {
        let column = column ?? Self.column(of: rows.map(\.head))
        return rows.map { row in
            let body = filled(row.text, indent: column)
            guard row.head.count + 4 <= column else { return "  \(row.head)\n\(body)" }
            return "  " + row.head + String(repeating: " ", count: column - 2 - row.head.count)
                + body.dropFirst(column)
        }.joined()
    }

    /// The text in lines that fit, each behind `indent` spaces.
    private static func filled(_ text: String, indent: Int) -> String {
        let margin = String(repeating: " ", count: indent)
        var lines: [String] = []
        var line = ""
        for word in text.split(whereSeparator: \.isWhitespace) {
            if !line.isEmpty, indent + line.count + 1 + word.count > width {
                lines.append(line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        lines.append(line)
        return lines.map { margin + $0 + "\n" }.joined()
    }
}
