import Block
import Bytes
import CProgram
import HostIO
import Synchronization

/// Lines for a shell: at a terminal typed with editing, history and completion, else as standard input has them.
final class LinePrompt {
    private let prompt: String
    private let thread: IOThread
    private var editor = LineEditor()
    private var isTyping = false
    /// Answers what may stand in the place of the last word of a text.
    var candidates: (_ text: String) -> [String] = { _ in [] }
    /// Carries a line out. False ends the shell.
    var carryOut: (_ line: String) async -> Bool = { _ in false }
    /// Whether the prompt is shown also where nobody types, as qemu-io does.
    var isAlwaysShown = false

    init(_ prompt: String, on thread: IOThread) {
        self.prompt = prompt
        self.thread = thread
    }

    func run() async {
        guard nacre_is_terminal(0) != 0, nacre_is_terminal(1) != 0, nacre_read_keys(0, 1) == 0 else {
            return await read()
        }
        await type()
        _ = nacre_read_keys(0, 0)
        nacre_make_blocking(0)
        nacre_make_blocking(1)
    }

    /// What is told while somebody types, above the line.
    func show(_ text: String) {
        Program.say((isTyping ? "\r\u{1b}[K" : "") + text + "\n")
        if isTyping { redraw() }
    }

    // MARK: Without a terminal

    private final class Line: Sendable {
        let text = Mutex<String?>(nil)
    }

    /// Requests go on while the next line is waited for.
    private func read() async {
        while true {
            if isAlwaysShown { Program.say(prompt) }
            let line = Line()
            _ = await thread.offload {
                let text = readLine()
                line.text.withLock { $0 = text }
                return 0
            }
            guard let text = line.text.withLock({ $0 }), await carryOut(text) else { return }
        }
    }

    // MARK: At a terminal

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

    private func complete(_ text: String) {
        let candidates = candidates(text)
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

    private func redraw() { Program.say(editor.shown(prompt: prompt)) }
}
