import Commands
import Testing

@testable import nacre

@Suite("The tables of options")
struct TableTests {
    /// Every command with the words that lead to it.
    static let commands = commands(below: Nacre.syntax, "nacre")

    private static func commands(below command: CommandSyntax, _ path: String) -> [(
        path: String, syntax: CommandSyntax
    )] {
        [(path, command)] + command.commands.flatMap { commands(below: $0, path + " " + $0.name) }
    }

    @Test("the help of every command fits 80 columns, tells of each option, and gives an example")
    func help() {
        #expect(Self.commands.count > 12)
        for (path, syntax) in Self.commands {
            let help = syntax.help(as: path)
            for line in help.split(separator: "\n") where !line.hasPrefix("  \(path) ") && !line.hasSuffix("\\") {
                // An example stands on its line as it is typed.
                #expect(line.count <= 80, "\(line)")
            }
            for option in syntax.options { #expect(help.contains("--" + option.long), "\(path) --\(option.long)") }
            #expect(help.contains("Example"), "\(path)")
        }
    }

    @Test("no letter and no name stands for two options of a command")
    func names() {
        for (path, syntax) in Self.commands {
            let names = syntax.options.map(\.long)
            let letters = syntax.options.compactMap(\.short)
            #expect(Set(names).count == names.count && Set(letters).count == letters.count, "\(path)")
        }
    }

    @Test("every example is a command line that its command reads")
    func examples() throws {
        for (path, syntax) in Self.commands {
            for example in syntax.examples {
                let line = example.words.replacing("\\\n", with: " ").prefix { $0 != "|" }
                let words = line.split(separator: " ").map(String.init)
                _ = try syntax.read(words)
                guard let type = ImgProgram.commands.first(where: { $0.syntax.name == syntax.name }),
                    path.hasPrefix("nacre img ")
                else { continue }
                _ = try type.init(type.syntax.readAsQEMUImg(words))
            }
        }
    }

    @Test("manual pages and completions know every command and every option of it")
    func generated() {
        let pages = ManualPage.pages(of: Nacre.syntax, version: "1")
        let completions = Completions(of: Nacre.syntax)
        for (path, syntax) in Self.commands where !syntax.isHidden {
            let name = path.split(separator: " ").prefix(2).joined(separator: "-") + ".1"
            let page = pages.first { $0.filename == name }?.text ?? ""
            for option in syntax.options {
                #expect(page.contains("--\(option.long)".replacing("-", with: "\\-")), "\(path) --\(option.long)")
                for text in [completions.bash, completions.zsh, completions.fish] {
                    #expect(text.contains(option.long), "\(path) --\(option.long)")
                }
            }
        }
        for text in pages.map(\.text) + [completions.bash, completions.fish, completions.zsh] {
            #expect(!text.contains("manuals.") || !text.contains("nacre-manuals"))
        }
    }
}
