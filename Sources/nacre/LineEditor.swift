/// A line being typed at a terminal, key by key: a value that turns bytes into what to do and what to show.
struct LineEditor {
    enum Action: Equatable {
        /// The line is as `shown` says.
        case redraw
        case submit(String)
        /// Tab: complete the text before the cursor.
        case complete(String)
        /// Ctrl-C: the line is dropped.
        case cancel
        /// Ctrl-D on an empty line.
        case end
    }

    private(set) var text: [Character] = []
    /// The cursor's place in `text`.
    private(set) var cursor = 0
    private var history: [String] = []
    private var historyPlace = 0
    private var pending: [UInt8] = []

    /// Lines that are remembered.
    private static let historyLimit = 500

    /// The action that a byte asks for, nil while a key's bytes are not all there.
    mutating func feed(_ byte: UInt8) -> Action? {
        pending.append(byte)
        if pending[0] == 0x1b { return escape() }
        if pending[0] >= 0x80 {
            let length = pending[0] >= 0xf0 ? 4 : pending[0] >= 0xe0 ? 3 : 2
            guard pending.count >= length else { return nil }
            return insert(take())
        }
        let key = pending[0]
        pending = []
        return key < 0x20 || key == 0x7f ? control(key) : insert([key])
    }

    private mutating func take() -> [UInt8] {
        defer { pending = [] }
        return pending
    }

    private mutating func insert(_ bytes: [UInt8]) -> Action {
        for character in String(decoding: bytes, as: UTF8.self) {
            text.insert(character, at: cursor)
            cursor += 1
        }
        return .redraw
    }

    private mutating func escape() -> Action? {
        guard pending.count >= 2 else { return nil }
        guard pending[1] == 0x5b || pending[1] == 0x4f else {
            pending = []
            return .redraw
        }
        guard let final = pending.dropFirst(2).last, final >= 0x40 else { return nil }
        switch final {
        case 0x41: recall(historyPlace - 1)
        case 0x42: recall(historyPlace + 1)
        case 0x43: cursor = min(cursor + 1, text.count)
        case 0x44: cursor = max(cursor - 1, 0)
        case 0x48: cursor = 0
        case 0x46: cursor = text.count
        case 0x7e where pending[2] == 0x33: if cursor < text.count { text.remove(at: cursor) }
        default: break
        }
        pending = []
        return .redraw
    }

    private mutating func control(_ key: UInt8) -> Action {
        switch key {
        case 0x0d, 0x0a: return submit()
        case 0x09: return .complete(String(text[..<cursor]))
        case 0x03:
            replace(with: "")
            return .cancel
        case 0x04:
            if text.isEmpty { return .end }
            if cursor < text.count { text.remove(at: cursor) }
        case 0x01: cursor = 0
        case 0x05: cursor = text.count
        case 0x0b: text.removeSubrange(cursor...)
        case 0x15:
            text.removeSubrange(..<cursor)
            cursor = 0
        case 0x17: deleteWord()
        case 0x7f, 0x08:
            if cursor > 0 {
                cursor -= 1
                text.remove(at: cursor)
            }
        default: break
        }
        return .redraw
    }

    private mutating func submit() -> Action {
        let line = String(text)
        if !line.isEmpty, history.last != line {
            history.append(line)
            if history.count > Self.historyLimit { history.removeFirst() }
        }
        historyPlace = history.count
        text = []
        cursor = 0
        return .submit(line)
    }

    private mutating func deleteWord() {
        var start = cursor
        while start > 0, text[start - 1] == " " { start -= 1 }
        while start > 0, text[start - 1] != " " { start -= 1 }
        text.removeSubrange(start..<cursor)
        cursor = start
    }

    private mutating func recall(_ place: Int) {
        guard place >= 0, place <= history.count else { return }
        historyPlace = place
        replace(with: place < history.count ? history[place] : "")
    }

    /// Puts a line in place of what was typed, the cursor behind it.
    mutating func replace(with line: String) {
        text = Array(line)
        cursor = text.count
    }

    /// Puts `completed` in place of what stands before the cursor.
    mutating func complete(_ completed: String) {
        let rest = text[cursor...]
        text = Array(completed) + rest
        cursor = completed.count
    }

    /// What the terminal is sent to show the line behind a prompt.
    func shown(prompt: String) -> String {
        let back = text.count - cursor
        return "\r\u{1b}[K\(prompt)\(String(text))" + (back > 0 ? "\u{1b}[\(back)D" : "")
    }
}
