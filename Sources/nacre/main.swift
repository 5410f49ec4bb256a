// As which program it was called decides what the words mean.
let words = Array(CommandLine.arguments.dropFirst())
if let command = Nacre.commands.first(where: { $0.qemuName == Program.name }) { command.run(words, asQEMU: true) }
if Program.name.hasPrefix("qemu-") {
    Program.fail("\(Program.name) is not among the programs that nacre stands in for", as: Program.name)
}
Nacre.run(words)
