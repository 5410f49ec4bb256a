import HostIO
import JSON

/// The shell of `nacre qmp`: at a terminal with editing and completion, else a line a command.
final class QMPShell {
    private let connection: QMPConnection
    private let schema: QMPSchema?
    private let prompt: LinePrompt

    init(_ connection: QMPConnection, _ schema: QMPSchema?, on thread: IOThread) {
        self.connection = connection
        self.schema = schema
        prompt = LinePrompt("(QMP) ", on: thread)
    }

    func run() async {
        connection.onEvent = { [prompt] event in prompt.show(event.text()) }
        prompt.candidates = { [schema] text in schema.map { QMPCompletion(schema: $0).candidates(for: text) } ?? [] }
        prompt.carryOut = { [unowned self] line in await carryOut(line) }
        await prompt.run()
        connection.onEvent = { _ in }
    }

    /// Runs a typed command. False where the shell ends with it.
    private func carryOut(_ line: String) async -> Bool {
        do {
            let words = try QMPArguments.words(of: line)
            guard let first = words.first else { return true }
            if first == "exit" { return false }
            let request = try QMPArguments(words, schema: schema).request
            Program.say(QMPCommand.text(of: try await connection.send(request)))
            return first != "quit"
        } catch let mistake as QMPArguments.Mistake {
            Program.complain("\(mistake.message)\n")
            return true
        } catch let failure as QMPConnection.Failure {
            Program.complain("\(QMPCommand.text(of: failure))\n")
            if case .broken = failure { return false }
            return true
        } catch {
            return false
        }
    }
}
