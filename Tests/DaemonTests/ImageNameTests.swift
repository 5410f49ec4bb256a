import Block
import Daemon
import Filters
import Graph
import Image
import Testing

/// Names and options of a command line, as nodes.
@Suite("Names of images")
struct ImageNameTests {
    private func node(_ text: String, isOptions: Bool = false, format: String? = nil) throws -> NodeOptions {
        let image = try ImageReference(reading: text, isOptions: isOptions, format: format)
        switch image.place {
        case .file(let path): return NodeOptions(.file(FileDriverOptions(filename: path)))
        case .storage(let options), .node(let options): return options
        }
    }

    private func refusal(_ text: String, isOptions: Bool = false) -> String? {
        do { _ = try ImageReference(reading: text, isOptions: isOptions) } catch { return error.message }
        return nil
    }

    private let file = NodeOptions(.file(FileDriverOptions(filename: "a:b")))

    @Test("a name goes to whoever takes names: blkdebug hands on what is left, in JSON too")
    func handedOn() throws {
        #expect(try ImageReference(reading: "file:x", isOptions: false).place == .file("x"))
        var inner = BlkdebugOptions(image: .options(NodeOptions(.file(FileDriverOptions(filename: "x")))))
        #expect(try node("blkdebug::x") == NodeOptions(.blkdebug(inner)))
        inner.config = "c"
        let outer = BlkdebugOptions(image: .options(NodeOptions(.blkdebug(inner))))
        #expect(try node("blkdebug::blkdebug:c:x") == NodeOptions(.blkdebug(outer)))
        #expect(try node("blkdebug::file:a:b") == NodeOptions(.blkdebug(BlkdebugOptions(image: .options(file)))))
        #expect(
            try node(#"json:{"driver":"blkdebug","image.driver":"file","image":{"filename":"a:b"}}"#)
                == NodeOptions(.blkdebug(BlkdebugOptions(image: .options(file)))))
        #expect(try node("null-co://").driver.name == "null-co")
        #expect(try node("blkdebug::x", format: "blkdebug").driver.name == "blkdebug")
    }

    @Test("text in JSON counts as what it says, and numbers as keys make a list")
    func texts() throws {
        let options = try node(
            #"json:{"driver":"blkdebug","align":"4k","inject-error.0.event":"none","inject-error.0.once":"on","image.filename":"x"}"#
        )
        guard case .blkdebug(let debug) = options.driver else {
            Issue.record("it is no blkdebug")
            return
        }
        #expect(debug.limits.align == 4096 && debug.errors.count == 1 && debug.errors.first?.once == true)
    }

    @Test("what cannot be read is refused in QEMU's words, however deep it goes")
    func refused() {
        #expect(refusal("foo:x") == "Unknown protocol 'foo'")
        #expect(refusal("blkdebug:x") == "blkdebug requires both config file and image path")
        #expect(refusal("blkdebug::foo:x") == "Unknown protocol 'foo'")
        #expect(refusal("json:[]") == "Invalid JSON object given")
        #expect(refusal("x", isOptions: true) == "Cannot find device='x' nor node-name='x'")
        #expect(refusal(#"json:{"a.b":1,"a":2}"#) != nil)
        #expect(refusal(String(repeating: "blkdebug::", count: 100_000) + "x") == "The file name goes too deep")
    }
}
