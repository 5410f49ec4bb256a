import JSON
import Testing

/// What QEMU 7.2.22's parser said to the same bytes, each followed by a line end.
@Suite("The JSON that a client may send")
struct JSONStreamTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let bytes: [UInt8]
        /// What follows `JSON parse error, ` for each error in turn; nil for a value.
        let outcomes: [String?]

        init(_ text: String, _ outcomes: [String?]) { self.init(bytes: Array(text.utf8), outcomes) }

        init(bytes: [UInt8], _ outcomes: [String?]) {
            self.bytes = bytes
            self.outcomes = outcomes
        }

        var testDescription: String { String(decoding: bytes, as: UTF8.self).debugDescription }
    }

    static let cases: [Case] = [
        Case("{\"execute\": }", ["expecting value"]),
        Case("{\"a\":1,}", ["expecting value"]),
        Case("{\"a\":1 \"b\":2}", ["expected separator in dict"]),
        Case("[1 2]", ["expected separator in list"]),
        Case("@", ["stray '@'"]),
        Case(bytes: [0xFF], ["stray '\u{FFFD}'"]),
        Case("\u{1}", ["stray '\u{1}'"]),
        Case("nul\ntrue ", ["invalid keyword 'nul'", nil]),
        Case("{1:2}", ["key is not a string in object"]),
        Case("{\"a\" 1}", ["missing : in object pair"]),
        Case("{\"a\":}", ["expecting value"]),
        Case("\"\\q\"", ["invalid escape sequence in string"]),
        Case("\"\\u12\"", ["\\u12\" is not a valid Unicode character"]),
        Case("\"a\\uD800\"", ["\\uD800 is not a valid Unicode character"]),
        Case("\"a\nb\"", ["stray '\"a\n'"]),
        Case("{\"a\":1,\"a\":2}", ["duplicate key"]),
        Case("%s ", ["stray '%'"]),
        Case("%p", ["stray '%'"]),
        Case("[1,]", ["expecting value"]),
        Case("[,]", ["expecting value"]),
        Case("{,}", ["expecting value"]),
        Case("{\"execute\":\"a\" @ }", ["stray '@'", "expecting value"]),
        Case("{\"execute\":\"a\", @ \"id\":3}", ["stray '@'", "expecting value", nil, "expecting value"]),
        Case("}", ["expecting value"]),
        Case("]", ["expecting value"]),
        Case("{]", ["expecting value"]),
        Case("[}", ["expecting value"]),
        Case("1 ", [nil]),
        Case("\"x\"", [nil]),
        Case("null ", [nil]),
        Case("[]", [nil]),
        Case("{}", [nil]),
        Case("{'execute':'a\\'b'}", [nil]),
        Case("{\"execute\":1}", [nil]),
        Case("{\"execute\":\"query-version\",\"arguments\":3}", [nil]),
        Case("{\"execute\":\"query-version\",\"bogus\":3}", [nil]),
        Case("{\"exec-oob\":\"query-version\"}", [nil]),
        Case("{\"exec-oob\":\"query-version\",\"execute\":\"a\"}", [nil]),
        Case("{\"execute\":\"query-version\",\"arguments\":{\"x\":1},\"id\":3}", [nil]),
        Case(bytes: [0x22, 0x61, 0x62, 0x63, 0xFF, 0x22], ["stray '\"abc\u{FFFD}'"]),
        Case(bytes: [0x22, 0x61, 0x62, 0x63, 0xC3, 0x28, 0x78, 0x22], ["invalid UTF-8 sequence in string"]),
        Case(
            bytes: [0x7B, 0x22, 0x61, 0x22, 0x3A, 0x22, 0xFF, 0x22, 0x7D], ["stray '\"\u{FFFD}'", "expecting value"]),
        Case("01 ", ["stray '01'"]),
        Case("-", ["stray '-\n'"]),
        Case("- ", ["stray '- '"]),
        Case("1.", ["stray '1.\n'"]),
        Case("1. ", ["stray '1. '"]),
        Case("1.5e ", ["stray '1.5e '"]),
        Case("1.5e+ ", ["stray '1.5e+ '"]),
        Case("-a ", ["stray '-a'"]),
        Case("1a ", [nil, "invalid keyword 'a'"]),
        Case("+1 ", ["stray '+'"]),
        Case("'it\\'s'", [nil]),
        Case("\"it\\'s\"", [nil]),
        Case("{\"execute\":\"query-version\",\"id\":\"\\uD83D\\uDE00\"}", [nil]),
        Case("\"\\uDE00\"", ["\\uDE00 is not a valid Unicode character"]),
        Case("\"\\uD83D\\u0041\"", ["\\uD83D is not a valid Unicode character"]),
        Case("\"\\ufffe\"", ["\\ufffe is not a valid Unicode character"]),
        Case(bytes: [0x22, 0xEF, 0xBF, 0xBE, 0x22], ["invalid UTF-8 sequence in string"]),
        Case("\"\\uFDD0\"", ["\\uFDD0 is not a valid Unicode character"]),
        Case(":", ["expecting value"]),
        Case(",", ["expecting value"]),
        Case("{:}", ["expecting value"]),
        Case("[1:2]", ["expected separator in list"]),
        Case("{\"a\",1}", ["missing : in object pair"]),
        Case("truex ", ["invalid keyword 'truex'"]),
        Case("TRUE ", ["stray 'T'"]),
        Case("[nul]", ["invalid keyword 'nul'"]),
        Case(bytes: [0x22, 0x80, 0x22], ["invalid UTF-8 sequence in string"]),
        Case(bytes: [0xC3, 0xA9, 0x20], ["stray '\u{FFFD}'"]),
        Case("{\"x\":[@]}", ["stray '@'", "expecting value", "expecting value"]),
        Case("{\"a\":\"\u{1}\"}", ["stray '\"\u{1}'", "expecting value"]),
        Case("{'a':\"b'c\"}\n", [nil]),
        Case("{\"x\":1}}", [nil, "expecting value"]),
        Case("%(a)d ", ["stray '%'"]),
        Case("%ld ", ["stray '%'"]),
        Case("%lld ", ["stray '%'"]),
        Case("%f ", ["stray '%'"]),
        Case("% ", ["stray '%'"]),
        Case("%lu ", ["stray '%'"]),
        Case("%i ", ["stray '%'"]),
        Case("%I64d ", ["stray '%'"]),
        Case("%d]", ["stray '%'", "expecting value"]),
        Case("_a ", ["stray '_'"]),
        Case("a-b ", ["invalid keyword 'a'", "stray '-b'"]),
        Case("a_b ", ["invalid keyword 'a'", "stray '_'"]),
        Case("\u{7F}", ["stray '\u{7F}'"]),
        Case("\"a", ["stray '\"a\n'"]),
        Case(".5 ", ["stray '.'"]),
        Case("/ ", ["stray '/'"]),
        Case("\"\\", ["stray '\"\\\n'"]),
        Case("\"\\u00e\" ", ["\\u00e\" is not a valid Unicode character"]),
        Case("\"\\\n\"", ["stray '\"\\\n'"]),
    ]

    static func outcomes(_ bytes: [UInt8], limits: JSONLimits = JSONLimits()) -> [String?] {
        var stream = JSONStream(limits: limits)
        return stream.feed(bytes).map { result in
            switch result {
            case .success: nil
            case .failure(let error): error.message
            }
        }
    }

    @Test("errors, their number and their order are QEMU's", arguments: cases)
    func errors(_ example: Case) {
        let expected = example.outcomes.map { $0.map { "JSON parse error, " + $0 } }
        #expect(Self.outcomes(example.bytes + [0x0A]) == expected)
    }

    @Test("after any error the next line is understood", arguments: cases)
    func recovery(_ example: Case) throws {
        var stream = JSONStream()
        // An open string or bracket ends with a byte that no message has.
        let results = stream.feed(example.bytes + [0xFF, 0x0A] + Array("{\"x\": 1}\n".utf8))
        #expect(try results.last?.get() == ["x": 1])
    }

    @Test("messages may come in any pieces, and several at once")
    func pieces() throws {
        let text = Array(#"{"a": [1, "}"]}{"b": -0.5}nul"#.utf8) + Array("l 7\n".utf8)
        let expected: [JSONValue] = [["a": [1, "}"]], ["b": .double(-0.5)], nil, 7]
        for split in 0...text.count {
            var stream = JSONStream()
            let results = stream.feed(text[..<split]) + stream.feed(text[split...])
            #expect(try results.map { try $0.get() } == expected)
        }
    }

    @Test("a magnitude beyond the doubles is refused: it could not be echoed")
    func infinity() {
        #expect(Self.outcomes(Array("1e400\n".utf8)) == ["JSON parse error, number out of range '1e400'"])
        #expect(Self.outcomes(Array("-1e400\n".utf8)) == ["JSON parse error, number out of range '-1e400'"])
    }

    // MARK: Limits

    @Test("a message as large as the limit passes, and one byte more does not")
    func size() throws {
        var limits = JSONLimits()
        limits.bytes = 100
        let text = Array(("\"" + String(repeating: "x", count: 98) + "\"").utf8)
        #expect(Self.outcomes(text, limits: limits) == [nil])
        #expect(Self.outcomes([0x78, 0x20] + text, limits: limits).last == .some(nil))
        let long = Array(("\"" + String(repeating: "x", count: 99) + "\"\n").utf8)
        #expect(Self.outcomes(long, limits: limits) == ["JSON token size limit exceeded"])
        let many = Array(("[" + String(repeating: "1,", count: 60) + "1]\n").utf8)
        #expect(Self.outcomes(many, limits: limits).first == "JSON token size limit exceeded")
    }

    @Test("the limits are 1 MiB, 128 Ki tokens and a depth of 64")
    func defaults() {
        let limits = JSONLimits()
        #expect(limits.bytes == 1 << 20)
        #expect(limits.tokens == 1 << 17)
        #expect(limits.depth == 64)
    }

    @Test("the rest of a string that was cut off is not taken for messages, and the line after it is understood")
    func cutOff() throws {
        var stream = JSONStream()
        var results = stream.feed([0x22] + [UInt8](repeating: 0x61, count: 3 << 20))
        #expect(results == [.failure(JSONError("JSON token size limit exceeded"))])
        results = stream.feed(Array("\"\n{\"execute\": \"quit\"}\n".utf8))
        #expect(results == [.success(["execute": "quit"])])
    }

    @Test("brackets may nest 64 deep and no deeper")
    func depth() {
        let deep = Array((String(repeating: "[", count: 64) + String(repeating: "]", count: 64)).utf8)
        #expect(Self.outcomes(deep) == [nil])
        let deeper = Array((String(repeating: "[{\"a\": ", count: 33)).utf8)
        #expect(Self.outcomes(deeper) == ["JSON nesting depth limit exceeded"])
    }

    @Test("a message may not consist of too many tokens")
    func tokens() {
        var limits = JSONLimits()
        limits.tokens = 5
        #expect(Self.outcomes(Array("[1,2]".utf8), limits: limits) == [nil])
        #expect(Self.outcomes(Array("[1,2,3 ".utf8), limits: limits) == ["JSON token count limit exceeded"])
    }

    @Test("many members cost no quadratic time")
    func manyMembers() throws {
        let text = "{" + (0..<20_000).map { "\"k\($0)\": \($0)" }.joined(separator: ", ") + "}"
        let value = try JSONValue.parse(text)
        #expect(value.object?.count == 20_000)
        #expect(value["k19999"] == 19999)
    }
}
