import BlockTestKit
import FoundationEssentials
import Testing

/// `nacre` called as qemu-io beside QEMU's own, line by line.
@Suite("nacre io", .paced, .onlyNacre, .needs("qemu-img", "qemu-io"))
struct IOTests {
    /// Makes the images that sessions work on, and a link by the name of qemu-io.
    private func prepare(_ scratch: Scratch) async throws {
        for folder in ["images", "bin"] {
            try FileManager.default.createDirectory(atPath: scratch.file(folder), withIntermediateDirectories: true)
        }
        for words in [
            ["-f", "qcow2", "images/disk.qcow2", "64M"], ["-f", "raw", "images/disk.raw", "1M"],
            ["-f", "qcow2", "-o", "compat=0.10", "images/old.qcow2", "10M"],
            ["-f", "qcow2", "-o", "extended_l2=on", "images/sub.qcow2", "10M"],
            ["-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", "images/top.qcow2"],
        ] { try await scratch.ok(["qemu-img", "create", "-q"] + words) }
        try await scratch.io(["write -P 7 0 128k", "write -P 8 1M 5k"], "images/disk.qcow2", format: "qcow2")
        try Data("abc\n".utf8).write(to: URL(filePath: scratch.file("images/pattern")))
        try Data().write(to: URL(filePath: scratch.file("images/empty")))
        let rules = """
            [set-state]
            event = "write_aio"
            state = "1"
            new_state = "2"
            [inject-error]
            event = "read_aio"
            state ="2"
            errno = "28"
            once = "on"

            """
        try Data(rules.utf8).write(to: URL(filePath: scratch.file("images/rules")))
        try FileManager.default.createSymbolicLink(
            atPath: scratch.file("bin/qemu-io"), withDestinationPath: Subject.nacre)
    }

    /// Runs QEMU's program and ours on copies of the images, in folders of these names, and answers what each printed.
    private func answers(_ scratch: Scratch, _ words: [String], in folders: [String]) async throws -> [[String]] {
        var answers: [[String]] = []
        for (folder, program) in zip(folders, ["qemu-io", scratch.file("bin/qemu-io")]) {
            try await scratch.ok("cp", "-r", "images", folder)
            let outcome = try await scratch.run(
                ["env", "--chdir=\(scratch.file(folder))", program] + words, seconds: 30)
            answers.append(["\(outcome.ending)", timeless(outcome.out), timeless(outcome.err)])
        }
        return answers
    }

    /// Without what differs from run to run: the time, the rate, and names of nodes that nobody named.
    private func timeless(_ text: String) -> String {
        text.replacing(/ops; .*/, with: "ops").replacing(/,1,0:.*/, with: ",1")
            .replacing(/#block\d+/, with: "#block")
    }

    static let sessions: [[String]] = [
        ["absent"], ["-f", "foo", "disk.qcow2"], ["-t", "bad", "disk.qcow2"], ["-i", "bad", "disk.qcow2"],
        ["-U", "disk.qcow2"], ["-k", "-c", "length", "disk.qcow2"], ["-C", "-r", "disk.qcow2"],
        ["-c", "length", "foo:bar"],
        ["--image-opts", "-f", "qcow2", "driver=qcow2"], ["--image-opts", "-c", "length", "disk.qcow2"],
        ["--image-opts", "-c", "length", "driver=qcow2,file.filename=disk.qcow2"],
        ["-c", "length", #"json:{"driver":"qcow2","file":{"driver":"file","filename":"disk.qcow2"}}"#],
        ["-c", "length", "null-co://"], ["--object", "foo", "-c", "length"],
        ["-T", "foo", "-c", "length", "disk.qcow2"],
        ["-c", "write -P 1 0 64k", "disk.raw"], ["-c", "write -s disk.qcow2 0 64k", "disk.raw"],
        ["-c", "quit", "-c", "foo", "disk.qcow2"], ["-c", "foo", "-c", "", "-c", "length"],
        commands(
            "disk.qcow2", "info", "map", "alloc 0 128k", "alloc 64k", "alloc 65M", "alloc 0 65M", "alloc", "map 1"),
        commands("top.qcow2", "info", "map", "write 0 1", "map", "alloc 0 64k"),
        commands("old.qcow2", "info"), commands("sub.qcow2", "info", "write 4k 4k", "map"),
        ["-f", "raw"] + commands("disk.raw", "info", "map", "alloc 5 1k", "write -b 0 512", "write -c 0 64k"),
        ["-r"]
            + commands("disk.qcow2", "write 0 1", "truncate 1M", "discard 0 1", "flush", "aio_write 0 1", "write -x"),
        commands(
            "disk.qcow2", "close", "open -r disk.qcow2", "write 0 1", "close", "close", "open absent", "open -z x",
            "open",
            "open -o driver=qcow2,file.filename=disk.qcow2", "open disk.qcow2", "length"),
        commands(
            nil, "open -o driver=raw,file.filename=disk.raw,offset=512k", "length", "close",
            "open -o driver=null-co,size=5M", "length", "close", "open -o file.filename=x x",
            "open -o foo=bar disk.qcow2",
            "open -o driver=foo disk.qcow2", "open -r", "open -s disk.qcow2", "write 0 64k", "close",
            "open -o driver=file disk.raw", "info", "help foo", "help 1 2"),
        commands(
            "disk.qcow2", "write 0 64k", "read -P 205 0 64k", "read -P 1 0 64k", "read -v 1M 20", "read -vq 0 3",
            "read -C -v 0 5", "write -s pattern 3 64k", "read -v 0 32", "write -s absent 0 1", "write -s empty 0 1",
            "write -s pattern -P 3 0 1", "readv -v 0 16 16", "writev -P 9 5 100 200", "read -P 9 5 300"),
        commands(
            "disk.qcow2", "write -zu 0 64k", "write -nz 64k 64k", "write -zf 0 1k", "write -c 2M 64k", "write -c 0 1k",
            "write -bz 0 1k", "write -bf 0 1k", "write -nc 0 1k", "write -cf 0 64k", "write -b 1 1", "read -a 0 1",
            "read -P 0 0 128k", "read -P 205 2M 64k"),
        // The saved state of a machine, behind the disk; below filters and plain formats too.
        commands(
            "top.qcow2", "write -b -P 5 0 5k", "read -b -P 5 0 5k", "read -b -P 0 1G 4k", "write -bq 1 512",
            "write -b 1 512",
            "read -b -v 4k 512", "write -b -c 64k 4k", "read -b -C 0 512", "length", "map", "read -b 0 0",
            "write -b 0 0",
            "read -b 8E 512", "read -b 8190P 512", "write -b 3P 512", "aio_read -b 0 512", "readv -b 0 512"),
        ["-r"] + commands("disk.qcow2", "write -b 0 512", "read -b 0 512"),
        ["-C"] + commands("top.qcow2", "write -b -P 3 0 4k", "read -b -P 3 0 4k"),
        ["--image-opts"]
            + commands(
                "driver=raw,file.driver=qcow2,file.file.driver=file,file.file.filename=disk.qcow2",
                "write -b -P 3 0 4k",
                "read -b -P 3 0 4k"),
        commands(
            "disk.qcow2", "read 0 -1", "read -- -1 5", "read 0 0", "read -l 5 0 5", "read -P 0 -s 6 0 5",
            "read -P x 0 1",
            "read -P 09 0 1", "read 0 1 2", "read 0", "readv 0", "readv 0 512 0", "read -P", "read -sl 1 1",
            "read --x 0 1",
            "write 63M 2M", "write 64M 0", "read 65M 0", "read 0 2G", "readv 0 1G 1G", "aio_read 0 1G 1G", "write 0 2G"),
        commands(
            "disk.qcow2", "discard 0 64k", "discard 1 5", "discard 0", "discard 64M 1", "discard 0 3G",
            "discard -C 0 1k",
            "flush", "flush 1", "length", "length -x", "truncate 65M", "length", "truncate x", "truncate -1",
            "truncate -m full 66M", "truncate -m foo 66M", "truncate 1 2", "truncate -m metadata 60M", "truncate",
            "length"),
        ["-f", "raw"]
            + commands(
                "disk.raw", "truncate 2M", "truncate -m full 3M", "length", "truncate 1000", "length",
                "truncate -m metadata 4M"),
        commands(
            "disk.qcow2", "aio_write -P 3 0 64k", "aio_flush", "aio_read -P 3 0 64k", "aio_flush", "aio_read 65M 1",
            "aio_flush", "aio_write -u 0 1", "aio_write -z 0 1 1", "aio_read -i 0 1", "aio_read -C 0 1k", "aio_flush"),
        commands(
            "blkdebug::disk.qcow2", "break write_aio A", "aio_write 0 512", "wait_break A", "resume A", "aio_flush"),
        commands(
            "blkdebug::disk.qcow2", "break foo A", "resume A", "remove_break A", "break read_aio B", "remove_break B"),
        commands("disk.qcow2", "break write_aio A", "resume A", "remove_break A", "break"),
        // What was begun ends before its image closes.
        commands("disk.qcow2", "aio_write -P 3 0 32M"), commands("disk.qcow2", "aio_read -P 7 0 128k", "close"),
        // Names within names, rules in a file, options below a filter.
        commands("blkdebug:rules:disk.qcow2", "read 0 1k", "write 0 1k", "read 0 1k", "read 0 1k"),
        commands(
            nil, "open -o driver=qcow2,file.align=4k blkdebug::disk.qcow2", "write 512 512", "length", "close",
            "open -o driver=blkdebug,image.driver=qcow2,align=512,opt-discard=15M,max-discard=15M blkdebug::disk.qcow2",
            "discard 1 30M", "length", "close", "open -o driver=copy-on-read,file.driver=qcow2 top.qcow2",
            "read 1k 1k", "close", "open -o file.node-name=foo disk.qcow2", "reopen -o file.node-name=bar", "reopen",
            "close", "open -o backing.node-name=foo top.qcow2", "reopen -o backing.node-name=foo",
            "reopen -o backing.node-name=bar", "reopen -o backing.driver=raw", "reopen -o file.driver=file"),
        // The backing file that the image names, as another format.
        commands(nil, "open -o backing.driver=raw top.qcow2", "read 0 1k", "close"),
        ["-f", "null-co", "-c", "reopen", "-c", "info", #"json:{"driver":"null-co","size":"65536"}"#],
        commands(
            #"json:{"driver":"qcow2","file":{"driver":"blkdebug","image.filename":"disk.qcow2","align":"4096"}}"#,
            "read -P 7 0 1k"),
        commands("blkdebug:absent:disk.qcow2", "length"), commands("blkdebug:disk.qcow2", "length"),
        ["--image-opts"] + commands("driver=qcow2,file.driver=blkdebug,file.image.filename=disk.qcow2", "map"),
        commands(
            "top.qcow2", "reopen -r", "reopen -w", "write -q 0 1", "reopen -rw", "reopen -c none", "reopen -c bad",
            "reopen x",
            "reopen -o lazy-refcounts=on", "reopen -o foo=bar", "reopen -o driver=raw", "reopen -o read-only=on",
            "reopen -r -o read-only=off", "reopen -c none -o cache.direct=on", "write -q 64k 1"),
        commands(
            "disk.qcow2", "sleep", "sleep x", "sleep 5", "sigraise x", "sigraise 999", "sigraise 18", "sigraise 15"),
        commands("disk.qcow2", "write -q 0 64k", "abort"), commands(nil, "help", "?"),
    ]

    private static func commands(_ image: String?, _ lines: String...) -> [String] {
        lines.flatMap { ["-c", $0] } + (image.map { [$0] } ?? [])
    }

    @Test("a session prints what qemu-io prints, and ends as it ends")
    func everySession() async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            for (index, words) in Self.sessions.enumerated() {
                let both = try await answers(scratch, words, in: ["a\(index)", "b\(index)"])
                #expect(both[0] == both[1], "\(words)")
            }
        }
    }

    @Test("hundreds of requests answer alike, and leave disks that are alike", arguments: [0, 1, 2, 3])
    func manyRequests(seed: Int) async throws {
        try await Scratch.use { scratch in
            try await prepare(scratch)
            var random = SeededRandom(seed: UInt64(seed))
            let lines = (0..<150).map { _ in request(&random) }
            let image = ["disk.qcow2", "sub.qcow2", "top.qcow2", "old.qcow2"][seed]
            let both = try await answers(
                scratch, ["-d", "unmap", "-f", "qcow2"] + lines.flatMap { ["-c", $0] } + [image], in: ["a", "b"])
            #expect(both[0] == both[1])
            #expect(both[0][1].split(separator: "\n").count > 200)
            for folder in ["a", "b"] { try await scratch.expectClean("\(folder)/\(image)") }
            try await scratch.expectSame("a/\(image)", "qcow2", "b/\(image)", "qcow2")
        }
    }

    /// A request on the first 8 MiB, for the most part a good one.
    private func request(_ random: inout SeededRandom) -> String {
        func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }
        let unit = [1, 512, 4096, 65536][below(4)]
        let place = below((8 << 20) / unit) * unit
        let length = (1 + below(max(1, (200 << 10) / unit))) * unit
        let cluster = below(128) * 65536
        let clusters = (1 + below(8)) * 65536
        let byte = below(256)
        switch below(10) {
        case 0, 1, 2: return "write -P \(byte) \(place) \(length)"
        case 3: return "write -z\(below(2) == 0 ? "u" : "") \(place) \(length)"
        case 4: return "discard \(cluster) \(clusters)"
        case 5: return "writev -P \(byte) \(place) \(length) 3 \(unit)"
        case 6: return "read -P \(byte) \(place) \(length)"
        case 7: return "writev -P \(byte) \(cluster) \(clusters)"
        case 8: return "read -v \(place) \(1 + below(40))"
        default: return below(2) == 0 ? "flush" : "read \(place) \(length)"
        }
    }
}
