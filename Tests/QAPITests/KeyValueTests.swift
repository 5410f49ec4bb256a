import JSON
import QMPTypes
import Testing

/// What qemu-storage-daemon 7.2.22 said to the same options, and what it made of them.
@Suite("Options as key=value")
struct KeyValueTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let text: String
        let message: String
        init(_ text: String, _ message: String) {
            self.text = text
            self.message = message
        }
        var testDescription: String { text }
    }

    private func error<T: QAPIType>(_ text: String, implied: String?, as type: T.Type) -> QMPError? {
        do throws(QMPError) {
            let (value, isText) = try KeyValue.parse(text, implied: implied)
            _ = try T(QAPIInput(.object(value), isText: isText))
            return nil
        } catch {
            return error
        }
    }

    static let blockdevs: [Case] = [
        Case(#"{"driver":"null-co""#, "JSON parse error, premature EOI"),
        Case(#"{"driver":"null-co"} 1"#, "Expecting at most one JSON value"),
        Case("{", "JSON parse error, premature EOI"), Case("{}", "Parameter 'driver' is missing"),
        Case("[1]", "Parameter 'driver' does not accept value '[1]'"), Case("", "Parameter 'driver' is missing"),
        Case("null-co,node-name=a,size=1k", "Parameter 'size' expects integer"),
        Case("raw,size=10M,file=x", "Parameter 'size' expects integer"),
        Case("null-co,node-name=a,size=99999999999999999999", "Parameter 'size' expects integer"),
        Case("null-co,node-name=a,read-zeroes=1", "Parameter 'read-zeroes' expects 'on' or 'off'"),
        Case("null-co,node-name=a,read-zeroes=ON", "Parameter 'read-zeroes' expects 'on' or 'off'"),
        Case("null-co,node-name=a,read-zeroes", "Expected '=' after parameter 'read-zeroes'"),
        Case("null-co,noread-zeroes", "Expected '=' after parameter 'noread-zeroes'"),
        Case("null-co,node-name=a,cache=x", "Invalid parameter type for 'cache', expected: object"),
        Case("null-co,node-name=a,cache.x=x", "Parameter 'cache.x' is unexpected"),
        Case("null-co,node-name.x=a", "Parameters 'node-name.*' are unexpected"),
        Case("raw,node-name=a,file.driver=null-co,file.bogus=1", "Parameter 'file.bogus' is unexpected"),
        Case("raw,node-name=a,file.driver=nope,file.bogus=1", "Parameter 'driver' does not accept value 'nope'"),
        Case("raw,node-name=a,file.driver=file", "Parameter 'file.filename' is missing"),
        Case("raw,node-name=a,file=x,file.driver=nope", "Parameters 'file.*' used inconsistently"),
        Case("raw,node-name=a,file.driver=null-co,file=x", "Parameters 'file.*' used inconsistently"),
        Case("raw,=x", "Invalid parameter ''"), Case("raw,1a=x", "Invalid parameter '1a'"),
        Case("raw,a..b=x", "Invalid parameter 'a..b'"), Case("raw,a.=x", "Invalid parameter 'a.'"),
        Case("raw,a", "Expected '=' after parameter 'a'"), Case("raw,", "Parameter 'file' is missing"),
        Case("raw,,b", "Invalid parameter ''"), Case("raw,,b,x=1", "Invalid parameter ''"),
        Case(",x=1", "Invalid parameter ''"), Case("help", "Help is not available for this option"),
        Case("raw,help", "Help is not available for this option"),
        Case("raw,x=1,?", "Help is not available for this option"),
        Case("raw,x=1,help=1", "Parameter 'file' is missing"),
        Case("blkdebug,image=x,inject-error.1.event=none", "Parameter 'inject-error.0' missing"),
        Case(
            "blkdebug,image=x,inject-error.0.event=none,inject-error.2.event=none",
            "Parameter 'inject-error.1' missing"),
        Case(
            "blkdebug,image=x,inject-error.0.event=none,inject-error.a=x",
            "Parameters 'inject-error.*' used inconsistently"),
        Case("blkdebug,image=x,inject-error=x", "Invalid parameter type for 'inject-error', expected: array"),
        Case("blkdebug,image=x,inject-error.0.event=xx", "Parameter 'event' does not accept value 'xx'"),
        Case("blkdebug,image=x,inject-error.0.state=xx", "Parameter 'inject-error.0.event' is missing"),
        Case(
            "blkdebug,image=x,inject-error.0.event=none,inject-error.0.bog=xx",
            "Parameter 'inject-error.0.bog' is unexpected"),
        Case("qcow2,file=x,overlap-check.template=foo", "Parameter 'template' does not accept value 'foo'"),
        Case("qcow2,file=x,overlap-check=foo", "Parameter 'overlap-check' does not accept value 'foo'"),
        Case("qcow2,file=x,bogus=1", "Parameter 'bogus' is unexpected"),
    ]

    @Test("--blockdev says what QEMU says", arguments: blockdevs)
    func blockdev(_ example: Case) {
        #expect(error(example.text, implied: "driver", as: BlockdevOptions.self) == QMPError(example.message))
    }

    @Test(
        "--blockdev takes what QEMU takes",
        arguments: [
            "file,filename=/x,node-name=a", "null-co,node-name=a,latency-ns=-1", "null-co,node-name=a,read-zeroes=true",
            "null-co,node-name=a,read-zeroes=yes", "raw,size=0x10,file=x", "raw,size= 10,file=x",
            "raw,size=+010,file=x",
            "qcow2,file=x,backing=", "raw,node-name=a,file=x,file=y", #"{"driver": "raw", "file": "x", "size": 1}"#,
            "blkdebug,image=x,inject-error.0.event=none,inject-error.1.event=read_aio,inject-error.1.once=on",
        ])
    func acceptance(_ text: String) {
        #expect(error(text, implied: "driver", as: BlockdevOptions.self) == nil)
    }

    @Test(
        "--nbd-server says what QEMU says",
        arguments: [
            Case("addr.type=inet,addr.host=localhost", "Parameter 'addr.port' is missing"),
            Case("addr.type=unix", "Parameter 'addr.path' is missing"),
            Case("x", "Expected '=' after parameter 'x'"),
            Case("addr.type=unix,addr.path=x,max-connections=x", "Parameter 'max-connections' expects integer"),
            Case("addr.type=unix,addr.path=x,max-connections=1k", "Parameter 'max-connections' expects integer"),
            Case(
                "addr.type=unix,addr.path=x,max-connections=99999999999", "Parameter 'max-connections' expects uint32_t"
            ),
            Case("addr.type=inet,addr.host=h,addr.port=1,addr.to=70000", "Parameter 'to' expects uint16_t"),
        ])
    func nbdServer(_ example: Case) {
        #expect(error(example.text, implied: nil, as: NbdServerOptions.self) == QMPError(example.message))
    }

    @Test(
        "--export says what QEMU says",
        arguments: [
            Case("nbd", "Parameter 'id' is missing"), Case("foo", "Parameter 'type' does not accept value 'foo'"),
            Case("nbd,id=x", "Parameter 'node-name' is missing"),
            Case("nbd,id=x,node-name=n,writable=maybe", "Parameter 'writable' expects 'on' or 'off'"),
            Case("nbd,id=x,node-name=n,bogus=maybe", "Parameter 'bogus' is unexpected"),
        ])
    func export(_ example: Case) {
        #expect(error(example.text, implied: "type", as: BlockExportOptions.self) == QMPError(example.message))
    }

    @Test("dots make objects, numbers lists, doubled commas stand for one, the last of equal keys counts")
    func tree() throws {
        let (value, isText) = try KeyValue.parse("v,a.b.1=two,a.b.0=one,c=x,,y=z,d=,e=1,e=2", implied: "first")
        #expect(isText)
        #expect(
            .object(value)
                == ["first": "v", "a": ["b": ["one", "two"]], "c": "x,y=z", "d": "", "e": "2"] as JSONValue)
    }

    @Test("a value keeps every character but its commas")
    func characters() throws {
        let (value, _) = try KeyValue.parse("a=\u{301}é😀=,,\u{301},b=ü")
        #expect(value["a"] == .string("\u{301}é😀=,\u{301}"))
        #expect(value["b"] == "ü")
    }

    @Test("a key of too many or too long parts is refused")
    func longKeys() {
        let deep = String(repeating: "a.", count: 40) + "a"
        #expect(throws: QMPError("Invalid parameter '\(deep)'")) { try KeyValue.parse("\(deep)=1") }
        let long = String(repeating: "a", count: 128)
        #expect(throws: QMPError("Invalid parameter '\(long)'")) { try KeyValue.parse("\(long)=1") }
    }

    @Test(
        "sizes have suffixes of powers of 1024",
        arguments: [
            ("1", 1), ("1k", 1024), ("1K", 1024), ("1.5M", 1_572_864), ("0x10", 16), ("7b", 7), ("2G", 2 << 30),
            ("1T", 1 << 40), ("16E", nil), ("-1", nil), ("", nil), ("k", nil), ("1x", nil),
            ("1e3", nil), (" 1", nil),
        ] as [(String, UInt64?)])
    func sizes(_ text: String, _ bytes: UInt64?) {
        #expect((try? QAPISize(QAPIInput(.string(text), isText: true)))?.bytes == bytes)
    }
}
