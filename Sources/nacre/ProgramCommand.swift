import Commands
import Glibc

/// A command of `nacre`, which may stand in for one of QEMU's programs. Every one stands in `Nacre.commands`.
protocol ProgramCommand: SendableMetatype {
    static var syntax: CommandSyntax { get }
    /// The program that it is where it is called by that name.
    static var qemuName: String? { get }
    /// `words` stand behind the command's name, or behind the program's where that is QEMU's.
    static func run(_ words: [String], asQEMU: Bool) -> Never
}

extension ProgramCommand {
    static var qemuName: String? { nil }

    /// Reads the command's words. What is wrong with them ends the program, and so does `--help`.
    static func read(_ words: [String]) -> CommandWords {
        do {
            let read = try syntax.read(words)
            guard read.has(.help) else { return read }
            Program.say(syntax.help(as: "nacre \(syntax.name)"))
            exit(0)
        } catch { misuse(error.message) }
    }

    static func misuse(_ message: String) -> Never {
        Program.misuse(message, as: "nacre \(syntax.name)")
    }
}
