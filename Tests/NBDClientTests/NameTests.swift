import Block
import Testing

@testable import NBDClient

@Suite("Names of remote exports")
struct NameTests {
    private static func inet(_ host: String, _ port: String, _ export: String? = nil) -> NBDRemoteOptions {
        NBDRemoteOptions(server: .inet(.init(host: host, port: port)), export: export)
    }

    private static func unix(_ path: String, _ export: String? = nil) -> NBDRemoteOptions {
        NBDRemoteOptions(server: .unix(path: path), export: export)
    }

    @Test("URIs and the older form mean what they mean to QEMU, and are told as QEMU tells them")
    func names() throws {
        let names: [(String, NBDRemoteOptions, String)] = [
            ("nbd://host", Self.inet("host", "10809"), "nbd://host:10809"),
            ("nbd://host/", Self.inet("host", "10809"), "nbd://host:10809"),
            ("nbd+tcp://host:1/a/b", Self.inet("host", "1", "a/b"), "nbd://host:1/a/b"),
            ("nbd://[::1]:7/x%20y", Self.inet("::1", "7", "x y"), "nbd://::1:7/x y"),
            ("nbd+unix:///?socket=/a", Self.unix("/a"), "nbd+unix://?socket=/a"),
            ("nbd+unix:///d?socket=/a%3Fb", Self.unix("/a?b", "d"), "nbd+unix:///d?socket=/a?b"),
            ("nbd:host:9", Self.inet("host", "9"), "nbd://host:9"),
            ("nbd:host:9:exportname=e", Self.inet("host", "9", "e"), "nbd://host:9/e"),
            ("nbd:unix:/s:exportname=e", Self.unix("/s", "e"), "nbd+unix:///e?socket=/s"),
        ]
        for (name, options, told) in names {
            #expect(try NBDName.parse(name) == options, "\(name)")
            #expect(options.filename == told)
        }
        for name in ["", "file", "/nbd:x", "json:{}", "nbds://host", "http://x"] {
            #expect(try NBDName.parse(name) == nil, "\(name)")
        }
    }

    @Test("names that say nothing are refused in QEMU's words")
    func refused() {
        for name in [
            "nbd://", "nbd:///x", "nbd://h?socket=/s", "nbd+unix:///x", "nbd+unix://h/x?socket=/s", "nbd+unix:///x?a=b",
            "nbd+unix:///x?socket=/s&a=b", "nbd://h:/", "nbd://[::1/", "nbd://h/%zz", "nbd://h/%00",
        ] {
            #expect(throws: OpenError("No valid URL specified", cause: .invalid), "\(name)") { try NBDName.parse(name) }
        }
        #expect(throws: OpenError("error parsing address 'foo'", cause: .invalid)) { try NBDName.parse("nbd:foo") }
    }
}
