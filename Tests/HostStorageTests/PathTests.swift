import Block
import Foundation
import HostStorage
import HostTestKit
import Testing

@Suite("Paths and folders of the host")
struct PathTests {
    @Test("a path says what it leads to, links followed")
    func kinds() {
        let folder = Folder()
        let file = folder.make("disk", [1])
        folder.link("good", to: file)
        folder.link("bad", to: folder.file("nothing"))
        #expect(HostPath.kind(of: file) == .file)
        #expect(HostPath.kind(of: folder.file("good")) == .file)
        #expect(HostPath.kind(of: folder.path) == .folder)
        #expect(HostPath.kind(of: "/dev/null") == .other)
        #expect(HostPath.kind(of: folder.file("bad")) == nil)
        // A NUL would end the name early, and another file be meant.
        #expect(HostPath.kind(of: file + "\0x") == nil)
    }

    @Test(
        "an absolute path keeps what only the file system can resolve",
        arguments: [("/a//b/./c", "/a/b/c"), ("/a/../b", "/a/../b"), ("/", "/"), ("/a/", "/a")])
    func absolute(path: String, whole: String) { #expect(HostPath.absolute(path) == whole) }

    @Test("a relative path starts in the folder that the program is in")
    func relative() {
        let here = FileManager.default.currentDirectoryPath
        #expect(HostFolder.current == here)
        #expect(HostPath.absolute("./disk") == (here == "/" ? "" : here) + "/disk")
    }

    @Test("the folder of a path", arguments: [("/a/b", "/a"), ("/a", "/"), ("a", "."), ("a/b/c", "a/b")])
    func folders(path: String, folder: String) { #expect(HostPath.folder(of: path) == folder) }

    @Test("a private folder is closed to others, refused where something is already, and goes with the files in it")
    func privateFolder() throws {
        let above = Folder()
        let path = above.file("own")
        try HostFolder.makePrivate(path)
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode.map { $0 & 0o077 } == 0)
        #expect(throws: OpenError.self) { try HostFolder.makePrivate(path) }
        try HostText.write("one", asFile: path + "/a")
        try HostText.write("two", asFile: path + "/b")
        #expect(HostFolder.names(in: path).sorted() == ["a", "b"])
        HostFolder.remove(path)
        #expect(HostPath.kind(of: path) == nil)
        #expect(HostFolder.names(in: path).isEmpty)
    }

    @Test("folders above are made where they are missing, and a file has just its new text")
    func files() throws {
        let above = Folder()
        let path = above.file("x/y")
        try HostFolder.makeWithParents(path)
        try HostFolder.makeWithParents(path)
        try HostText.write(String(repeating: "long ", count: 100_000), asFile: path + "/text")
        try HostText.write("short", asFile: path + "/text")
        #expect(try HostText.contents(of: path + "/text", atMost: 10) == Array("short".utf8))
        #expect(try HostText.start(of: path + "/text", 2) == Array("sh".utf8))
        #expect(throws: OpenError.self) { try HostText.write("", asFile: above.file("none/text")) }
        #expect(throws: OpenError.self) { try HostText.start(of: above.file("none"), 4) }
    }

    @Test("the file of the process's id holds it, and goes with the program")
    func pidFile() throws {
        let above = Folder()
        let path = above.file("pid")
        let file = try PIDFile(path)
        #expect(
            try HostText.contents(of: path, atMost: 20) == Array("\(ProcessInfo.processInfo.processIdentifier)\n".utf8))
        #expect {
            try PIDFile(above.file("none/pid"))
        } throws: {
            ($0 as? OpenError)?.message == "Could not create '\(above.file("none/pid"))': No such file or directory"
        }
        file.remove()
        #expect(HostPath.kind(of: path) == nil)
    }

    @Test("local time is what the C library makes of it")
    func localTime() {
        // Proof: literals.
        unsafe setenv("TZ", "UTC", 1)
        tzset()
        #expect(HostProcess.localTime(0) == "1970-01-01 00:00:00")
        #expect(HostProcess.localTime(1_700_000_000) == "2023-11-14 22:13:20")
    }
}
