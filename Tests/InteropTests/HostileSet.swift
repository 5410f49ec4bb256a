import BlockTestKit
import Bytes
import FoundationEssentials
import Glibc
import Simulation

/// The simulation's hostile images as files, and commands run on them under limits.
struct HostileSet {
    /// A command on an image: what it may cost.
    struct Command {
        let name: String
        /// In front of the image's format and name.
        let words: [String]
        let seconds: Int
        var isTraced = false
        /// Whether it is the daemon, told over QMP to open the image by the names that are granted to it, and to quit.
        var isDaemon = false

        /// What it is called with, and what it finds on its standard input, for an image below `folder`.
        func call(_ image: HostileImage, in folder: String) -> (words: [String], input: String) {
            let path = image.files[0].path
            guard isDaemon else { return (words + ["-f", image.format, path], "") }
            let granted = (["."] + path.split(separator: "/").dropLast().map(String.init)).joined(separator: "/")
            let commands = [
                #"{"execute": "qmp_capabilities"}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "f", "read-only": true, "#
                    + #""filename": "\#(path)"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "\#(image.format)", "node-name": "d", "#
                    + #""read-only": true, "file": "f"}}"#,
                #"{"execute": "query-named-block-nodes"}"#, #"{"execute": "quit"}"#,
            ]
            let options = ["--allow-path", "\(folder)/\(granted)", "--chardev", "stdio,id=m", "--monitor", "m"]
            return (words + options, commands.joined(separator: " "))
        }
    }

    /// What a command on an image came to.
    struct Answer {
        let image: HostileImage
        let command: String
        /// The exit status, or minus the signal that ended it.
        let status: Int
        let milliseconds: Int
        let peakKiB: Int
        let hasChanged: Bool
        let opened: Set<String>
        let complaint: String
    }

    let scratch: Scratch

    /// Runs the commands on each of the images.
    func run(_ images: [HostileImage], _ commands: (HostileImage) -> [Command]) async throws -> [Answer] {
        var manifest = ""
        var asked: [String: HostileImage] = [:]
        for (index, image) in images.enumerated() {
            let folder = scratch.file("set/\(index)")
            try lay(image, in: folder)
            asked[folder] = image
            for command in commands(image) {
                let (words, input) = command.call(image, in: folder)
                manifest +=
                    ([folder, command.name, "\(command.seconds)", command.isTraced ? "1" : "0", input] + words)
                    .joined(separator: "\t") + "\n"
            }
        }
        try manifest.write(toFile: scratch.file("manifest"), atomically: false, encoding: .utf8)
        let answers = try await scratch.ok(
            ["python3", Tool.script("hostile.py"), Subject.nacre, scratch.file("manifest")], seconds: 900)
        try FileManager.default.removeItem(atPath: scratch.file("set"))
        return try answers.split(separator: "\n").map { line in
            let words = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            guard words.count == 8, let image = asked[words[0]], let status = Int(words[2]), let time = Int(words[3]),
                let peak = Int(words[4])
            else { throw Trouble("not an answer: \(line)") }
            return Answer(
                image: image, command: words[1], status: status, milliseconds: time, peakKiB: peak,
                hasChanged: words[5] == "1", opened: Set(words[6].split(separator: "|").map(String.init)),
                complaint: words[7])
        }
    }

    private func lay(_ image: HostileImage, in folder: String) throws {
        for path in image.files.map(\.path) + image.links.map(\.path) {
            let parent = "\(folder)/\(path)".split(separator: "/").dropLast().joined(separator: "/")
            try FileManager.default.createDirectory(atPath: "/\(parent)", withIntermediateDirectories: true)
        }
        for file in image.files { try write(file.contents, to: "\(folder)/\(file.path)") }
        for link in image.links {
            try FileManager.default.createSymbolicLink(
                atPath: "\(folder)/\(link.path)", withDestinationPath: link.target)
        }
    }

    /// Writes what is in memory; the rest is a hole.
    private func write(_ bytes: SparseBytes, to path: String) throws {
        // Proof: the path is lent as a C string for the call.
        let file = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        guard file >= 0 else { throw Trouble("\(path): errno \(errno)") }
        defer { close(file) }
        guard ftruncate(file, Int(bytes.length)) == 0 else { throw Trouble("\(path): errno \(errno)") }
        for range in bytes.heldRanges {
            let page = bytes.bytes(range)
            // Proof: the array lives through the call, which reads as many bytes as it has.
            let done = unsafe pwrite(file, page, page.count, Int(range.start))
            guard done == page.count else { throw Trouble("\(path): errno \(errno)") }
        }
    }
}
