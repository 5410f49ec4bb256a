import ArgumentParser

struct QMPCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "qmp", abstract: "Send one QMP command, or open a shell.")
    func run() {}
}
