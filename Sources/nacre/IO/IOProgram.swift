import Block
import Commands
import Daemon
import Glibc
import Graph
import HostIO
import Image
import Logging
import QMPTypes
import Qcow2

/// `nacre io`, and `qemu-io` where the program is called by that name: an image's requests, one by one.
enum IOProgram: ProgramCommand {
    static let qemuName: String? = "qemu-io"

    static func run(_ words: [String], asQEMU: Bool) -> Never {
        let program = asQEMU ? "qemu-io" : "nacre io"
        // What went wrong each command says itself, in lines that scripts read.
        Program.logs(from: .critical)
        let arguments: IOArguments
        do { arguments = try IOArguments(words) } catch {
            if error.message.isEmpty {
                Program.complain(syntax.help(as: program))
            } else {
                Program.complain("\(program): \(error.message)\n")
                if error.sendsToHelp { Program.complain("Try '\(program) --help' for more information\n") }
            }
            exit(error.exitCode)
        }
        switch arguments.request {
        case .help: Program.say(syntax.help(as: program))
        case .version:
            Program.say(
                asQEMU
                    ? "qemu-io version \(Program.qemuVersion) (nacre \(Program.version))\n"
                    : "nacre \(Program.version)\n")
        case .run:
            for text in arguments.warnings { Program.complain("\(program): warning: \(text)\n") }
            exit(OwnThread.run { await run(arguments, program, asQEMU: asQEMU, on: $0) })
        }
        exit(0)
    }

    /// The exit status.
    private static func run(_ arguments: IOArguments, _ program: String, asQEMU: Bool, on thread: IOThread) async
        -> Int32
    {
        let warn = { (text: String) in Program.complain(text + "\n") }
        let host = HostOpener(thread, namesHolders: true)
        let closing = Closing()
        let observer = GraphObserver(
            onCorruption: { _, report in warn(report.text) },
            onCloseFailure: { closing.failures.append("\($0): closing failed: \($1.sentence)") },
            onWarning: { warn("\(program): \($0)") })
        let graph = Graph(
            context: thread,
            Graph.Configuration(
                opener: host, backing: asQEMU ? .qemu : .ownFolder, actsAsQEMU: asQEMU, observer: observer))
        let objects: ToolObjects
        do { objects = try ToolObjects(arguments.objects, in: graph, on: host, asQEMU: asQEMU) } catch {
            Program.complain("\(program): \(error.message)\n")
            return 1
        }
        defer { withExtendedLifetime(objects) {} }
        let opener = ImageOpener(graph, host, on: thread, asQEMU: asQEMU, warn: warn)
        var around = IOShell.Surroundings(
            say: { Program.say($0) }, complain: { Program.complain($0) },
            report: { Program.complain("\(program): \($0)\n") })
        around.contents = { (path, limit) throws(OpenError) in try host.contents(of: path, atMost: limit) }
        around.open = { (opening) async throws(OpenError) in try await opener.target(opening) }
        around.raise = { number in
            // Whoever else of the program listens to it does not have it.
            _ = signal(number, SIG_DFL)
            _ = Glibc.raise(number)
        }
        around.piece = pieceBytes
        around.longestDump = .max
        let shell = IOShell(thread, around)
        var status: Int32 = 0
        if let opening = arguments.opening {
            guard await shell.open(opening) else { return 1 }
        }
        if arguments.commands.isEmpty {
            status = await prompt(shell, program, on: thread)
        } else {
            for command in arguments.commands {
                let outcome = await shell.run(command)
                if outcome == .failed { status = 1 }
                if outcome == .ended { break }
            }
        }
        await shell.close()
        await graph.close()
        // Where nothing was written nothing is lost.
        guard shell.hasWritten, !closing.failures.isEmpty else { return status }
        for text in closing.failures { warn("\(program): \(text)") }
        return 1
    }

    /// What could not be written back as images were closed.
    private final class Closing {
        var failures: [String] = []
    }

    /// Commands from standard input.
    private static func prompt(_ shell: IOShell, _ program: String, on thread: IOThread) async -> Int32 {
        var status: Int32 = 0
        let prompt = LinePrompt("\(program)> ", on: thread)
        prompt.isAlwaysShown = true
        prompt.candidates = { text in
            // Only the first word is a command.
            text.contains(" ") ? [] : IOShell.commandNames.filter { $0.hasPrefix(text) }
        }
        prompt.carryOut = { line in
            let outcome = await shell.run(line)
            if outcome == .failed { status = 1 }
            return outcome != .ended
        }
        await prompt.run()
        return status
    }

    /// Bytes that one request moves; longer ones go in pieces, so that a long request does not take its length in memory.
    private static let pieceBytes = 64 << 20
}
