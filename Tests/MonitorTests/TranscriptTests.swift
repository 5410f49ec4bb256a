import JSON
import Monitor
import Testing

/// Golden transcripts: what QEMU 7.2.22's daemon answered to the same bytes.
@Suite("QMP, to the byte")
struct TranscriptTests {
    private static let negotiate = #"{"execute": "qmp_capabilities"}"#
    private static let negotiateOOB = #"{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}"#
    private static let version = #"{"execute": "query-version"}"#

    private func error(_ text: String, id: String? = nil, class errorClass: String = "GenericError") -> String {
        let prefix = id.map { "\"id\": \($0), " } ?? ""
        return "{\(prefix)\"error\": {\"class\": \"\(errorClass)\", \"desc\": \"\(text)\"}}"
    }

    @Test("the greeting is one line that ends with CR LF")
    func greeting() throws {
        let conversation = Conversation()
        let client = conversation.connect()
        try conversation.settle()
        #expect(client.take() == Conversation.greeting + "\r\n")
    }

    @Test("the pretty layout has four spaces and CR LF throughout")
    func pretty() throws {
        let conversation = Conversation()
        let client = conversation.connect(pretty: true)
        try conversation.settle()
        #expect(
            client.takeLines() == [
                "{", "    \"QMP\": {", "        \"version\": {", "            \"qemu\": {",
                "                \"micro\": 22,", "                \"minor\": 2,", "                \"major\": 7",
                "            },", "            \"package\": \"nacre 1\"", "        },", "        \"capabilities\": [",
                "            \"oob\"", "        ]", "    }", "}",
            ])
        try conversation.send(Self.negotiateOOB + #"{"exec-oob": "query-version", "id": {}}"#, from: client)
        #expect(
            client.takeLines() == [
                "{", "    \"return\": {", "    }", "}", "{", "    \"id\": {", "    },", "    \"error\": {",
                "        \"class\": \"GenericError\",",
                "        \"desc\": \"The command query-version does not support OOB\"", "    }", "}",
            ])
    }

    @Test("negotiation: its errors, its success, and what comes after it", arguments: 0..<4 as Range<UInt64>)
    func negotiation(seed: UInt64) throws {
        let expecting = "Expecting capabilities negotiation with 'qmp_capabilities'"
        let lines = try Conversation.lines(
            #"{"execute":"query-version","id":1}{"execute":"nosuch","id":2}{"execute":7,"id":3}"#
                + #"{"execute":"qmp_capabilities","arguments":{"enable":["foo"]}}"#
                + #"{"execute":"qmp_capabilities","arguments":{"enable":"oob"}}"#
                + #"{"execute":"qmp_capabilities","arguments":{"enable":[1]}}"#
                + #"{"execute":"qmp_capabilities","arguments":{"xx":1}}"#
                + #"{"exec-oob":"query-version"}"#
                + #"{"execute":"qmp_capabilities","arguments":{"enable":["oob","oob"]},"id":4}"#
                + #"{"execute":"qmp_capabilities"}{"execute":"qmp_capabilities","arguments":{"xx":1}}"#, seed: seed)
        #expect(
            lines == [
                error(expecting, id: "1", class: "CommandNotFound"),
                error(expecting, id: "2", class: "CommandNotFound"),
                error("QMP input member 'execute' must be a string", id: "3"),
                error("Parameter 'null' does not accept value 'foo'"),
                error("Invalid parameter type for 'enable', expected: array"),
                error("Invalid parameter type for 'enable[0]', expected: string"),
                error("Parameter 'xx' is unexpected"), error("QMP input member 'exec-oob' is unexpected"),
                #"{"return": {}, "id": 4}"#,
                error("Capabilities negotiation is already complete, command ignored", class: "CommandNotFound"),
                error("Parameter 'xx' is unexpected"),
            ])
    }

    struct Row: Sendable, CustomTestStringConvertible {
        let request: String
        let message: String
        var id: String?
        var errorClass = "GenericError"
        var testDescription: String { request }
    }

    static let rows: [Row] = [
        Row(request: "[]", message: "QMP input must be a JSON object"),
        Row(request: "1 ", message: "QMP input must be a JSON object"),
        Row(request: #""x""#, message: "QMP input must be a JSON object"),
        Row(request: "null ", message: "QMP input must be a JSON object"),
        Row(request: "{}", message: "QMP input lacks member 'execute'"),
        Row(request: #"{"id": 1}"#, message: "QMP input lacks member 'execute'", id: "1"),
        Row(request: #"{"execute": 7}"#, message: "QMP input member 'execute' must be a string"),
        Row(
            request: #"{"execute": null, "id": "a"}"#, message: "QMP input member 'execute' must be a string",
            id: "\"a\""),
        Row(
            request: #"{"execute": "query-version", "arguments": [], "id": 1.50}"#,
            message: "QMP input member 'arguments' must be an object", id: "1.5"),
        Row(
            request: #"{"execute": "query-version", "arguments": null}"#,
            message: "QMP input member 'arguments' must be an object"),
        Row(
            request: #"{"execute": "query-version", "bogus": 1, "id": {}}"#,
            message: "QMP input member 'bogus' is unexpected", id: "{}"),
        Row(request: #"{"exec-oob": "query-version"}"#, message: "QMP input member 'exec-oob' is unexpected"),
        Row(
            request: #"{"execute": "query-version", "exec-oob": "x"}"#,
            message: "QMP input member 'exec-oob' is unexpected"),
        Row(
            request: #"{"execute":"query-version","zzz":1,"bogus":2,"arguments":[]}"#,
            message: "QMP input member 'bogus' is unexpected"),
        Row(request: #"{"arguments":[],"execute":7}"#, message: "QMP input member 'execute' must be a string"),
        Row(
            request: #"{"execute": "nosuch", "id": null}"#, message: "The command nosuch has not been found",
            id: "null",
            errorClass: "CommandNotFound"),
        Row(request: #"{"execute": "fail"}"#, message: "Device 'd' not found", errorClass: "DeviceNotFound"),
        Row(request: #"{"execute": "a", "execute": "b", "id": 1}"#, message: "JSON parse error, duplicate key"),
        Row(request: #"{"execute": }"#, message: "JSON parse error, expecting value"),
        Row(request: #"{"execute": "quit" "id": 1}"#, message: "JSON parse error, expected separator in dict"),
    ]

    @Test("every error of dispatch, and the command after it is answered", arguments: rows)
    func dispatch(_ row: Row) throws {
        let after = #"{"execute": "query-version", "id": 7}"#
        let lines = try Conversation.lines(Self.negotiate + row.request + after)
        #expect(
            lines == [
                #"{"return": {}}"#, error(row.message, id: row.id, class: row.errorClass),
                #"{"return": {"package": "p"}, "id": 7}"#,
            ])
    }

    static let oobRows: [Row] = [
        Row(
            request: #"{"exec-oob":"query-version","id":1}"#,
            message: "The command query-version does not support OOB", id: "1"),
        Row(request: #"{"exec-oob":"query-version"}"#, message: "The command query-version does not support OOB"),
        Row(
            request: #"{"exec-oob":"query-version","arguments":{"x":1},"id":5}"#,
            message: "The command query-version does not support OOB", id: "5"),
        Row(
            request: #"{"exec-oob":"qmp_capabilities","id":6}"#,
            message: "The command qmp_capabilities does not support OOB", id: "6"),
        Row(
            request: #"{"exec-oob":"nosuch","id":2}"#, message: "The command nosuch has not been found", id: "2",
            errorClass: "CommandNotFound"),
        Row(request: #"{"exec-oob":7,"id":3}"#, message: "QMP input member 'exec-oob' must be a string", id: "3"),
        Row(
            request: #"{"execute":"a","exec-oob":"b","id":4}"#,
            message: "QMP input member 'execute' clashes with 'exec-oob'", id: "4"),
        Row(
            request: #"{"exec-oob":"query-version","arguments":[],"id":7}"#,
            message: "QMP input member 'arguments' must be an object", id: "7"),
        Row(request: #"{"arguments":{},"id":8}"#, message: "QMP input lacks member 'execute'", id: "8"),
        Row(
            request: #"{"exec-oob":"a","execute":7,"id":9}"#, message: "QMP input member 'execute' must be a string",
            id: "9"),
        Row(
            request: #"{"exec-oob":7,"execute":"x","id":10}"#, message: "QMP input member 'exec-oob' must be a string",
            id: "10"),
    ]

    @Test("every error of out-of-band requests", arguments: oobRows)
    func outOfBand(_ row: Row) throws {
        let lines = try Conversation.lines(Self.negotiateOOB + " " + row.request)
        #expect(Set(lines) == [#"{"return": {}}"#, error(row.message, id: row.id, class: row.errorClass)])
    }

    @Test(
        "an id of any kind is echoed",
        arguments: [
            ("null", "null"), ("true", "true"), (#""s""#, #""s""#), (#"{"b":1,"a":[]}"#, #"{"a": [], "b": 1}"#),
            ("[1,2.5]", "[1, 2.5]"), ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"), ("9223372036854775807", "9223372036854775807"),
            ("12345678901234567890", "12345678901234567890"), ("0.1", "0.10000000000000001"), ("-0", "0"),
            ("\"\\u0000\u{e9}\"", #""\u0000\u00E9""#), (#"'\uD83D\uDE00'"#, #""\uD83D\uDE00""#),
        ])
    func ids(_ id: String, _ echo: String) throws {
        let lines = try Conversation.lines(
            Self.negotiate + "{\"execute\":\"nosuch\",\"id\":\(id)}{\"execute\":\"query-version\",\"id\":\(id)}")
        #expect(
            lines.dropFirst() == [
                error("The command nosuch has not been found", id: echo, class: "CommandNotFound"),
                "{\"return\": {\"package\": \"p\"}, \"id\": \(echo)}",
            ])
    }

    @Test("a lexical error in the middle of an object gives two errors, and the next command works")
    func recovery() throws {
        let lines = try Conversation.lines(
            Self.negotiate + "{\"execute\": @ \"id\"}\n" + Self.version + "\u{1}" + Self.version)
        #expect(
            lines == [
                #"{"return": {}}"#, error("JSON parse error, stray '@'"), error("JSON parse error, expecting value"),
                #"{"return": {"package": "p"}}"#, error(#"JSON parse error, stray '\u0001'"#),
                #"{"return": {"package": "p"}}"#,
            ])
    }

    @Test("limits give an error and keep the connection")
    func limits() throws {
        let conversation = Conversation()
        let client = conversation.connect()
        try conversation.send(Self.negotiate, from: client)
        _ = client.takeLines()
        try conversation.send("{\"execute\": \"" + String(repeating: "x", count: 2 << 20) + "\"}\n", from: client)
        #expect(
            client.takeLines() == [error("JSON token size limit exceeded"), error("JSON parse error, expecting value")])
        try conversation.send(String(repeating: "[", count: 65) + "\u{1}\n", from: client)
        #expect(
            client.takeLines() == [
                error("JSON nesting depth limit exceeded"), error(#"JSON parse error, stray '\u0001'"#),
            ])
        try conversation.send(Self.version, from: client)
        #expect(client.takeLines() == [#"{"return": {"package": "p"}}"#])
    }
}
