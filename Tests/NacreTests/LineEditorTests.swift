import Testing

@testable import nacre

@Suite("The line editor")
struct LineEditorTests {
    private func type(_ keys: String, into editor: inout LineEditor) -> [LineEditor.Action] {
        keys.utf8.compactMap { editor.feed($0) }
    }

    @Test("typing, moving and deleting change the line as they do in every shell")
    func editing() {
        var editor = LineEditor()
        _ = type("hello world", into: &editor)
        #expect(type("\u{17}", into: &editor) == [.redraw])
        #expect(String(editor.text) == "hello ")
        _ = type("\u{01}X\u{05}Y\u{1b}[D\u{1b}[D\u{7f}", into: &editor)
        #expect(String(editor.text) == "XhellY".replacing("Y", with: " Y"))
        _ = type("\u{0b}", into: &editor)
        #expect(String(editor.text) == "Xhell")
        _ = type("\u{15}", into: &editor)
        #expect(editor.text.isEmpty && editor.cursor == 0)
    }

    @Test("a letter of several bytes is one letter")
    func letters() {
        var editor = LineEditor()
        #expect(type("é", into: &editor) == [.redraw])
        #expect(editor.text == ["é"])
        _ = type("\u{7f}", into: &editor)
        #expect(editor.text.isEmpty)
    }

    @Test("Enter gives the line, and the arrows bring it back")
    func history() {
        var editor = LineEditor()
        #expect(type("one\r", into: &editor).last == .submit("one"))
        #expect(type("two\r", into: &editor).last == .submit("two"))
        _ = type("\u{1b}[A\u{1b}[A", into: &editor)
        #expect(String(editor.text) == "one")
        _ = type("\u{1b}[B", into: &editor)
        #expect(String(editor.text) == "two")
        _ = type("\u{1b}[B", into: &editor)
        #expect(editor.text.isEmpty)
    }

    @Test("Ctrl-C drops the line, Ctrl-D ends an empty one, Tab asks for more")
    func controls() {
        var editor = LineEditor()
        #expect(type("ab\u{03}", into: &editor).last == .cancel)
        #expect(type("\u{04}", into: &editor) == [.end])
        #expect(type("ab\t", into: &editor).last == .complete("ab"))
        editor.complete("abc ")
        #expect(String(editor.text) == "abc " && editor.cursor == 4)
    }

    @Test("no sequence of bytes traps")
    func nonsense() {
        var editor = LineEditor()
        var state: UInt64 = 1
        for _ in 0..<20000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            _ = editor.feed(UInt8(truncatingIfNeeded: state >> 56))
            if editor.text.count > 200 { editor.replace(with: "") }
        }
        #expect(editor.cursor <= editor.text.count)
    }
}
