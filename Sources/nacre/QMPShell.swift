import Block
import Bytes
import CProgram
import HostIO
import JSON

/// The shell of `nacre qmp`: at a terminal with editing and completion, else a line a command.
final class QMPShell {
    private let connection: QMPConnection
    private let schema: QMPSchema?
    private let thread: IOThread
    private var editor = LineEditor()
    private var isTyping = false

    private static let prompt = "(QMP) "

    init(_ connection: QMPConnection, _ schema: QMPSchema?, on thread: IOThread) {
        self.connection = connection
        self.schema = schema
        self.thread = thread
    }

    func run() async {
        connection.onEvent = { event in self.show(event) }
        // The connection holds the shell as long as it runs, and no longer.
        defer { connection.onEvent = { _ in } }
        guard nacre_is_terminal(0) != 0, nacre_is_terminal(1) != 0, nacre_read_keys(0, 1) == 0 else {
            while let line = readLine() {
                guard await carryOut(line) else { return }
            }
            return
        }
        await type()
        _ = nacre_read_keys(0, 0)
        nacre_make_blocking(0)
        nacre_make_blocking(1)
    }

    /// Reads keys until the end.
    private func type() async {
        let keys = Socket(input: 0, output: 1, on: thread)
        var buffer = AlignedBuffer(byteCount: 1024)
        isTyping = true
        redraw()
        while true {
            var span = buffer.mutableBytes
            guard let count = try? await keys.receive(into: &span), count > 0 else { return }
            for byte in buffer.bytes.extracting(0..<count).array {
                guard let action = editor.feed(byte) else { continue }
                guard await carryOut(action) else { return }
            }
        }
    }

    /// False at the end.
    private func carryOut(_ action: LineEditor.Action) async -> Bool {
        switch action {
        case .redraw: redraw()
        case .complete(let text): complete(text)
        case .cancel:
            Program.say("\n")
            redraw()
        case .end:
            Program.say("\n")
            return false
        case .submit(let line):
            Program.say("\n")
            isTyping = false
            guard await carryOut(line) else { return false }
            isTyping = true
            redraw()
        }
        return true
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

    private func complete(_ text: String) {
        guard let schema else { return }
        let candidates = QMPCompletion(schema: schema).candidates(for: text)
        guard let first = candidates.first else { return }
        let typed = text.split(separator: " ", omittingEmptySubsequences: false).last.map(String.init) ?? ""
        // As far as all candidates agree.
        let common = candidates.dropFirst().reduce(first) { a, b in
            String(zip(a, b).prefix { $0 == $1 }.map(\.0))
        }
        if common.count > typed.count || candidates.count == 1 {
            let isWhole = candidates.count == 1 && !common.hasSuffix("=") && !common.hasSuffix(".")
            editor.complete(text.dropLast(typed.count) + common + (isWhole ? " " : ""))
        } else {
            Program.say("\n" + candidates.joined(separator: "  ") + "\n")
        }
        redraw()
    }

    private func redraw() { Program.say(editor.shown(prompt: Self.prompt)) }

    private func show(_ event: JSONValue) {
        Program.say((isTyping ? "\r\u{1b}[K" : "") + event.text() + "\n")
        if isTyping { redraw() }
    }
}
