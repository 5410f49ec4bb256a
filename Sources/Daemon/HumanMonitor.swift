import Monitor
import QMPTypes

/// The monitor for people, as far as scripts use it: the commands that are there, word by word and answer by answer as
/// QEMU 7.2 has them.
struct HumanMonitor {
    let service: Service

    init(_ service: Service) { self.service = service }

    /// A command, what it takes and what it does. The answer is its text.
    struct Command {
        let name: String
        let parameters: [HumanCommandLine.Parameter]
        let run: (HumanMonitor, HumanCommandLine) async throws(QMPError) -> String
    }

    /// Runs one line. What goes wrong is told in the text.
    func run(_ line: String) async -> String {
        await answer(line).replacing("\n", with: "\r\n")
    }

    private func answer(_ line: String) async -> String {
        var words = HumanCommandLine.Scanner(line)
        guard let first = words.bareWord() else { return "" }
        var commands = Self.commands
        var name = first
        var help = first
        if first == "info" {
            guard let subject = words.bareWord() else { return Self.listOfSubjects }
            commands = Self.subjects
            name = subject
            help = "info \(subject)"
        }
        guard let command = commands.first(where: { $0.name == name }) else {
            return "unknown command: '\(help)'\n"
        }
        let taken: HumanCommandLine
        do throws(HumanCommandLine.Mistake) { taken = try HumanCommandLine(&words, command.parameters) } catch {
            return "\(name): \(error.message)\nTry \"help \(help)\" for more information\n"
        }
        do throws(QMPError) { return try await command.run(self, taken) } catch {
            return "Error: \(error.message)\n"
        }
    }

    private static var commands: [Command] {
        [
            Command(
                name: "qemu-io",
                parameters: [.flag("d"), .required("device", "block device name"), .required("command", "string")],
                run: { (monitor, line) throws(QMPError) in try await monitor.qemuIO(line) }),
            Command(
                name: "drive_add",
                parameters: [.flag("n"), .required("address", "string"), .required("options", "string")],
                run: { (monitor, line) throws(QMPError) in await monitor.driveAdd(line) }),
            Command(
                name: "drive_del", parameters: [.required("id", "block device name")],
                run: { (monitor, line) throws(QMPError) in await monitor.driveDel(line) }),
            Command(
                name: "eject", parameters: [.flag("f"), .required("device", "block device name")],
                run: { (monitor, line) throws(QMPError) in try await monitor.eject(line) }),
            Command(
                name: "change",
                parameters: [
                    .required("device", "block device name"), .flag("f"), .required("target", "filename"),
                    .optional("format"), .optional("mode"),
                ],
                run: { (monitor, line) throws(QMPError) in try await monitor.change(line) }),
        ]
    }

    private static var subjects: [Command] {
        [
            Command(
                name: "block", parameters: [.flag("n"), .flag("v"), .optional("device")],
                run: { (monitor, line) throws(QMPError) in await monitor.infoBlock(line) }),
            Command(
                name: "blockstats", parameters: [],
                run: { (monitor, _) throws(QMPError) in try await monitor.infoBlockStats() }),
            Command(
                name: "snapshots", parameters: [],
                run: { (monitor, _) throws(QMPError) in monitor.infoSnapshots() }),
            Command(
                name: "version", parameters: [], run: { (monitor, _) throws(QMPError) in monitor.infoVersion() }),
        ]
    }

    private static let listOfSubjects = """
        info block [-n] [-v] [device] -- show info of one block device or all block devices (-n: show named nodes; -v: \
        show details)
        info blockstats  -- show block device statistics
        info snapshots  -- show the currently saved VM snapshots
        info version  -- show the version of QEMU

        """

    private func infoVersion() -> String {
        let version = service.version
        return "\(version.major).\(version.minor).\(version.micro)\(version.package)\n"
    }
}
