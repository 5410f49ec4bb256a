import Testing

@testable import nacre

@Suite("What serve says")
struct ServeTextTests {
    @Test("a URI holds any path and any name")
    func uris() {
        let unix = ServePlace(transport: .unix("/run/a b/n?.sock"), qmp: "q", export: "my disk")
        #expect(unix.uri == "nbd+unix:///my%20disk?socket=/run/a%20b/n%3F.sock")
        #expect(
            ServePlace(transport: .tcp(host: "::1", port: 10809), qmp: "q", export: "d").uri == "nbd://[::1]:10809/d")
    }

    @Test("every command that is printed can be pasted into a shell")
    func commands() {
        let text = ServeText(
            image: ServedImage(path: "/nowhere/it's.qcow2", shown: "it's.qcow2"), kind: .qcow2, isReadOnly: false,
            guessed: true, backing: ["/nowhere/base.raw (raw)"],
            place: ServePlace(transport: .unix("/r/nbd.sock"), qmp: "/r/qmp.sock", export: "disk")
        ).description
        #expect(
            text.hasPrefix("it's.qcow2: qcow2, by its magic, served writable\non top of /nowhere/base.raw (raw), from"))
        #expect(text.contains("nbdinfo 'nbd+unix:///disk?socket=/r/nbd.sock'"))
        #expect(text.contains("-drive 'file=nbd+unix:///disk?socket=/r/nbd.sock,format=raw,if=virtio'"))
        #expect(text.contains("nacre qmp /r/qmp.sock blockdev-snapshot-sync node-name=disk snapshot-node-name=disk-1"))
        #expect(text.contains("'snapshot-file=/nowhere/it'\\''s-1.qcow2'"))
    }
}
