import ArgumentParser

/// The program's own command line.
struct Nacre: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nacre",
        abstract: "Serves, snapshots and inspects virtual-machine disk images.",
        version: "nacre \(Program.version)",
        subcommands: [ServeCommand.self, DaemonEntry.self, QMPCommand.self, ImgEntry.self])
}

/// Stands in the list of commands; `main.swift` hands its words to `DaemonCommand`.
struct DaemonEntry: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "daemon", abstract: "Serve what options and QMP say, as qemu-storage-daemon does.")

    @Argument(parsing: .captureForPassthrough) var words: [String] = []

    func run() { DaemonCommand.run(words, asQEMU: false) }
}

/// Stands in the list of commands; `main.swift` hands its words to `ImgCommand`.
struct ImgEntry: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "img", abstract: "Create, inspect, check and map images, as qemu-img does.")

    @Argument(parsing: .captureForPassthrough) var words: [String] = []

    func run() { ImgCommand.run(words, asQEMU: false) }
}
