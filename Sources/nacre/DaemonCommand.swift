import Block
import CProgram
import Commands
import Daemon
import Glibc
import HostStorage
import Synchronization

/// `nacre daemon`, and `qemu-storage-daemon` where the program is called by that name.
enum DaemonCommand: ProgramCommand {
    static let qemuName: String? = "qemu-storage-daemon"

    static func run(_ words: [String], asQEMU: Bool) -> Never {
        let program = asQEMU ? "qemu-storage-daemon" : "nacre"
        let arguments: DaemonArguments
        do { arguments = try DaemonArguments(words, asQEMU: asQEMU) } catch { Program.fail(error.message, as: program) }
        switch arguments.request {
        case .help:
            let syntax = asQEMU ? qemuSyntax : syntax
            Program.say(syntax.help(as: asQEMU ? syntax.name : "nacre \(syntax.name)"))
        case .version: Program.say(version(asQEMU: asQEMU))
        case .serve: serve(arguments, asQEMU: asQEMU, program)
        }
        exit(0)
    }

    private static func serve(_ arguments: DaemonArguments, asQEMU: Bool, _ program: String) {
        for warning in arguments.warnings { Program.complain("\(program): \(warning)\n") }
        // Before the I/O thread starts: only the thread that forks lives on in the child.
        let notify = arguments.daemonizes ? nacre_detach() : nil
        if let notify, notify < 0 { Program.fail("could not detach (errno \(-notify))", as: program) }
        let pidFile = Mutex<PIDFile?>(nil)
        do throws(DaemonStartError) {
            try Daemon.serve(arguments.options, configuration: configuration(arguments, asQEMU: asQEMU)) {
                () throws(DaemonStartError) in
                if let path = arguments.pidFile {
                    try write(path, as: pidFile)
                }
                if let notify, nacre_detached(notify) < 0 {
                    throw DaemonStartError(option: nil, message: "could not detach from the terminal")
                }
            }
        } catch {
            pidFile.withLock { $0?.remove() }
            let place = error.option.map { arguments.words(of: $0) + ": " } ?? ""
            Program.fail(place + error.message, as: program)
        }
        pidFile.withLock { $0?.remove() }
    }

    private static func write(_ path: String, as pidFile: borrowing Mutex<PIDFile?>) throws(DaemonStartError) {
        do throws(OpenError) {
            let file = try PIDFile(path)
            pidFile.withLock { $0 = file }
        } catch {
            throw DaemonStartError(option: nil, message: "cannot create PID file: \(error.message)")
        }
    }

    private static func configuration(_ arguments: DaemonArguments, asQEMU: Bool) -> DaemonConfiguration {
        let backing: DaemonConfiguration.Backing =
            if asQEMU { .qemu } else if arguments.isSealed || arguments.allowedPaths.isEmpty { .sealed } else {
                .allowed(arguments.allowedPaths)
            }
        return DaemonConfiguration(
            version: Program.version, backing: backing, actsAsQEMU: asQEMU, memory: arguments.memory,
            daemonizes: arguments.daemonizes)
    }

    private static func version(asQEMU: Bool) -> String {
        asQEMU
            ? "qemu-storage-daemon version \(Program.qemuVersion) (nacre \(Program.version))\n"
            : "nacre \(Program.version)\n"
    }
}
