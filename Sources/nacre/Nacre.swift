import Commands
import Glibc

/// The program's own command line.
enum Nacre {
    static let commands: [any ProgramCommand.Type] = [
        ServeCommand.self, DaemonCommand.self, QMPCommand.self, ImgProgram.self, IOProgram.self, NBDProgram.self,
        ManualsCommand.self,
    ]

    private static let version = OptionSyntax("version", short: "V", group: .general, "say the version")

    static let syntax = CommandSyntax(
        "nacre", "Serves, snapshots and inspects virtual-machine disk images.",
        details: [
            """
            Called by the name of one of QEMU's programs (\(commands.compactMap { $0.qemuName }.joined(separator: ", "))) \
            through a link, it behaves as that program does.
            """
        ],
        options: [version],
        examples: [
            .init("serve disk.qcow2", "give an image to others over NBD, and say how to reach it"),
            .init("img create -f qcow2 disk.qcow2 20G", "make an empty disk of 20 GiB"),
        ],
        commands: commands.map { $0.syntax })

    static func run(_ words: [String]) -> Never {
        let read: CommandWords
        do { read = try syntax.read(words) } catch { Program.misuse(error.message, as: syntax.name) }
        if read.has(version), !read.has(.help) {
            Program.say("nacre \(Program.version)\n")
            exit(0)
        }
        guard !read.has(.help), let name = read.operands.first else {
            Program.say(syntax.help(as: syntax.name))
            exit(0)
        }
        guard let command = commands.first(where: { $0.syntax.name == name }) else {
            Program.misuse("there is no command '\(name)'", as: syntax.name)
        }
        command.run(Array(read.operands.dropFirst()), asQEMU: false)
    }
}
