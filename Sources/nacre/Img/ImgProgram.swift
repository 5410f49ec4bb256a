import Block
import Commands
import Daemon
import Glibc
import HostIO
import HostStorage
import Image
import QMPTypes

/// `nacre img`, and `qemu-img` where the program is called by that name.
enum ImgProgram: ProgramCommand {
    static let qemuName: String? = "qemu-img"

    static let commands: [any ImgCommand.Type] = [
        ImgAmend.self, ImgBench.self, ImgBitmap.self, ImgCheck.self, ImgCommit.self, ImgCompare.self, ImgConvert.self,
        ImgCopyBlocks.self, ImgCreate.self, ImgInfo.self, ImgMap.self, ImgMeasure.self, ImgRebase.self, ImgResize.self,
        ImgSnapshot.self,
    ]

    private static let version = OptionSyntax("version", short: "V", group: .general, "say the version")
    private static let trace = OptionSyntax(
        "trace", short: "T", value: "PATTERN", group: .general, "accepted; there are no trace points")

    static let syntax = CommandSyntax(
        "img", "Makes, inspects, checks and changes disk images, as qemu-img does.",
        details: [
            """
            FMT is qcow2 or raw. A SIZE, OFFSET or LENGTH is in bytes, or with k, M, G, T, P or E behind it in units of \
            1024 each.
            """
        ],
        options: [version, trace],
        examples: [
            .init("create -f qcow2 disk.qcow2 20G", "make an empty disk of 20 GiB"),
            .init("info disk.qcow2", "tell what is in a file"),
        ],
        commands: commands.map { $0.syntax })

    static func run(_ words: [String], asQEMU: Bool) -> Never {
        let program = asQEMU ? "qemu-img" : "nacre img"
        do throws(UsageMistake) {
            let (command, rest) = try command(words, program, asQEMU)
            let read = try command.syntax.readAsQEMUImg(rest)
            if read.has(.help) { answer(command.syntax.help(as: "\(program) \(command.syntax.name)")) }
            let objects = read.all(.object)
            if objects.contains("help") { answer(ToolObjects.help) }
            carryOut(try command.init(read), objects, asQEMU: asQEMU, program)
        } catch {
            complain(error.message, program)
            if error.sendsToHelp { Program.complain("Try '\(program) --help' for more information\n") }
            exit(error.exitCode)
        }
    }

    /// The command that the words begin with, and what stands behind it.
    private static func command(_ words: [String], _ program: String, _ asQEMU: Bool) throws(UsageMistake)
        -> (any ImgCommand.Type, [String])
    {
        guard !words.isEmpty else { throw UsageMistake("Not enough arguments") }
        let read = try syntax.readAsQEMUImg(words)
        if read.has(.help) { answer(syntax.help(as: program)) }
        if read.has(version) { answer(versionText(asQEMU)) }
        for pattern in read.all(trace) { complain("warning: trace event '\(pattern)' does not exist", program) }
        guard let name = read.operands.first else { throw UsageMistake("Not enough arguments") }
        guard let command = commands.first(where: { $0.syntax.name == name }) else {
            throw UsageMistake("Command not found: \(name)")
        }
        return (command, Array(read.operands.dropFirst()))
    }

    private static func versionText(_ asQEMU: Bool) -> String {
        asQEMU
            ? "qemu-img version \(Program.qemuVersion) (nacre \(Program.version))\n" : "nacre \(Program.version)\n"
    }

    private static func answer(_ text: String) -> Never {
        Program.say(text)
        exit(0)
    }

    /// A further line of a message stands behind the program's name too where qemu-img has it so: of sizes and warnings.
    private static func complain(_ message: String, _ program: String) {
        var text = message
        for start in ["kilo", "warning: ", "Failed in parsing ", "Invalid options for "] {
            text = text.replacing("\n" + start, with: "\n\(program): \(start)")
        }
        Program.complain("\(program): \(text)\n")
    }

    // MARK: running

    private static func carryOut(
        _ command: any ImgCommand, _ objects: [String], asQEMU: Bool, _ program: String
    ) -> Never {
        IOThread.keepFreedMemory()
        let (outcome, rest): (Result<Int32, ImageError>, String) = OwnThread.run { thread in
            let text = OutputText()
            let result = await result(of: command, objects, asQEMU: asQEMU, text, on: thread)
            return (result, text.take())
        }
        if case .failure(let error) = outcome { complain(error.message, program) }
        Program.say(rest)
        switch outcome {
        case .success(let code): exit(code)
        case .failure(let error): exit(error.exitCode)
        }
    }

    private static func result(
        of command: any ImgCommand, _ objects: [String], asQEMU: Bool, _ text: OutputText, on thread: IOThread
    ) async -> Result<Int32, ImageError> {
        let host = HostOpener(thread, namesHolders: !asQEMU)
        var tool = ImageTool(
            files: host, context: thread, rule: asQEMU ? .any : .ownFolder,
            output: { text.say($0) }, report: { Program.complain($0 + "\n") }, localTime: HostProcess.localTime)
        tool.showOutput = { Program.say(text.take()) }
        tool.names = { (text, format, isOptions) throws(OpenError) in
            try ImageReference(reading: text, isOptions: isOptions, format: format)
        }
        let made: ToolObjects
        do throws(QMPError) { made = try ToolObjects(objects, in: tool.graph, on: host, asQEMU: asQEMU) } catch {
            return .failure(ImageError(error.message))
        }
        // Nodes name the objects, which live as long as the command.
        defer { withExtendedLifetime(made) {} }
        do throws(ImageError) {
            return .success(try await command.run(ImgSession(tool: tool, thread: thread, asQEMU: asQEMU)))
        } catch { return .failure(error) }
    }
}

extension CommandSyntax {
    /// Reads a command line, and tells what is wrong with it in qemu-img's own words.
    func readAsQEMUImg(_ words: [String]) throws(UsageMistake) -> CommandWords {
        do { return try read(words) } catch {
            switch error {
            case .unknownLong(let word), .unknownShort(_, let word), .ambiguous(let word, _),
                .unexpectedValue(let word):
                throw UsageMistake("unrecognized option '\(word)'")
            case .missingValue(let word, _): throw UsageMistake("missing argument for option '\(word)'")
            }
        }
    }
}
