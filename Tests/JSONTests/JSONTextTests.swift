import JSON
import Testing

@Suite("JSON values and their text")
struct JSONTextTests {
    @Test("every kind of value is echoed as QEMU echoes it")
    func echo() throws {
        let text = #"""
            [1.50, -0, -0.0, 12345678901234567890, -9223372036854775808, 18446744073709551615, 18446744073709551616,
             1e5, 0.1, 1e100, 1E+2, 123456789.123456789, {}, [], null, true, false]
            """#
        #expect(
            try JSONValue.parse(text).text()
                == "[1.5, 0, -0, 12345678901234567890, -9223372036854775808, 18446744073709551615, "
                + "1.8446744073709552e+19, 100000, 0.10000000000000001, 1e+100, 100, 123456789.12345679, "
                + "{}, [], null, true, false]")
    }

    @Test("text is ASCII, with escapes in upper case")
    func escapes() throws {
        let text = #""\u0000\u00e9\/\b\f\n\r\t\#u{7f}\#u{1F600}\uD83D\uDE00'\'\"\\""#
        #expect(
            try JSONValue.parse(text).text()
                == #""\u0000\u00E9/\b\f\n\r\t\u007F\uD83D\uDE00\uD83D\uDE00''\"\\""#)
    }

    @Test(
        "a double has up to 17 significant digits, exact and trimmed",
        arguments: [
            ("0.1", "0.10000000000000001"), ("0.3333333333333333", "0.33333333333333331"),
            ("0.6666666666666666", "0.66666666666666663"),
            ("123456789012345678.0", "1.2345678901234568e+17"), ("12345678901234567.0", "12345678901234568"),
            ("1e16", "10000000000000000"),
            ("1e17", "1e+17"), ("0.0001", "0.0001"), ("0.00001", "1.0000000000000001e-05"),
            ("5e-324", "4.9406564584124654e-324"), ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("-1.5", "-1.5"), ("100.0", "100"), ("9007199254740993.0", "9007199254740992"),
            ("0.5", "0.5"), ("-0.0", "-0"), ("3.0e-5", "3.0000000000000001e-05"),
            ("1e23", "9.9999999999999992e+22"), ("9.5367431640625e-07", "9.5367431640625e-07"),
            ("12345678.9", "12345678.9"),
            ("1e-4", "0.0001"), ("123456.7e-12", "1.2345669999999999e-07"),
        ])
    func doubles(_ value: String, _ text: String) throws {
        #expect(try JSONValue.parse(value).text() == text)
    }

    @Test("a double survives its text", arguments: [0.1, 1e-300, 6.02214076e23, 4.35, 2.5e-8, 98765.4321])
    func roundTrip(_ value: Double) throws {
        #expect(Double(JSONValue.double(value).text()) == value)
    }

    @Test("what is no number is never written as one", arguments: [Double.infinity, -.infinity, .nan])
    func notFinite(_ value: Double) {
        #expect(JSONValue.double(value).text() == "null")
    }

    @Test("members come in the order of QEMU's hash table")
    func memberOrder() {
        let error: JSONValue = ["error": ["desc": "d", "class": "c"], "id": 1]
        #expect(error.text() == #"{"id": 1, "error": {"class": "c", "desc": "d"}}"#)
        let success: JSONValue = ["id": 1, "return": [:]]
        #expect(success.text() == #"{"return": {}, "id": 1}"#)
        let event: JSONValue = ["data": [:], "event": "E", "timestamp": ["seconds": 1, "microseconds": 2]]
        #expect(event.text() == #"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "E", "data": {}}"#)
    }

    @Test("of members in one bucket the latest comes first")
    func sameBucket() {
        #expect(JSONValue.object(JSONObject([("minor", 2), ("micro", 22)])).text() == #"{"micro": 22, "minor": 2}"#)
        #expect(JSONValue.object(JSONObject([("micro", 22), ("minor", 2)])).text() == #"{"minor": 2, "micro": 22}"#)
    }

    @Test("the pretty layout is QEMU's, empty objects and arrays included")
    func pretty() throws {
        let value = try JSONValue.parse(#"{"return": {}, "id": [{}, [], {"a": []}, [1, [2]], "x"]}"#)
        #expect(
            value.text(.pretty) == """
                {
                    "return": {
                    },
                    "id": [
                        {
                        },
                        [
                        ],
                        {
                            "a": [
                            ]
                        },
                        [
                            1,
                            [
                                2
                            ]
                        ],
                        "x"
                    ]
                }
                """)
    }

    @Test(
        "text that holds no single value is refused in QEMU's words",
        arguments: [
            (#"{"driver":"null-co""#, "JSON parse error, premature EOI"), ("{", "JSON parse error, premature EOI"),
            (#"{"a":"#, "JSON parse error, premature EOI"), (#"{"a":1} 1"#, "Expecting at most one JSON value"),
            (#"{"a":1} @"#, "Expecting at most one JSON value"), (#"{"a":1} {"#, "Expecting at most one JSON value"),
            ("", "Expecting a JSON value"), (" ", "Expecting a JSON value"),
            (#""abc"#, #"JSON parse error, stray '"abc'"#),
            ("-", "JSON parse error, stray '-'"), ("nul", "JSON parse error, invalid keyword 'nul'"),
        ])
    func oneValue(_ text: String, _ message: String) {
        #expect(throws: JSONError(message)) { try JSONValue.parse(text) }
    }

    @Test("one value may stand without anything behind it", arguments: ["1", "true", "-1.5e3", "\"x\"", " [1] "])
    func bare(_ text: String) throws { _ = try JSONValue.parse(text) }

    @Test("equality ignores the order of members, and setting nil removes one")
    func objects() {
        var object = JSONObject([("a", 1), ("b", 2)])
        #expect(object == JSONObject([("b", 2), ("a", 1)]))
        object["a"] = nil
        object["b"] = 3
        #expect(object == JSONObject([("b", 3)]))
    }
}
