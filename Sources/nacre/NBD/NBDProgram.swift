import Block
import CProgram
import Commands
import Daemon
import Glibc
import HostStorage
import Logging
import Synchronization

/// `nacre nbd`, and `qemu-nbd` where the program is called by that name: one image over NBD.
enum NBDProgram: ProgramCommand {
    static let qemuName: String? = "qemu-nbd"

    static func run(_ words: [String], asQEMU: Bool) -> Never {
        let program = asQEMU ? "qemu-nbd" : "nacre nbd"
        // Its like says nothing of what it opens.
        if asQEMU { Program.logs(from: .warning) }
        let arguments: NBDArguments
        do {
            arguments = try NBDArguments(
                words,
                inherited: NBDArguments.inherited(HostProcess.environment, process: HostProcess.id))
        } catch {
            Program.complain("\(program): \(error.message)\n")
            if error.sendsToHelp { Program.complain("\(error.isOfWords ? "\(program): " : "")\(seeHelp(program))") }
            exit(1)
        }
        switch arguments.request {
        case .help: Program.say(syntax.help(as: program))
        case .version:
            Program.say(
                asQEMU ? "qemu-nbd \(Program.qemuVersion) (nacre \(Program.version))\n" : "nacre \(Program.version)\n")
        case .list: list(arguments, program, asQEMU: asQEMU)
        case .disconnect(let device): attach(device, program, "Cannot open")
        case .serve: serve(arguments, program, asQEMU: asQEMU)
        }
        exit(0)
    }

    private static func seeHelp(_ program: String) -> String { "Try `\(program) --help' for more information.\n" }

    private static func list(_ arguments: NBDArguments, _ program: String, asQEMU: Bool) {
        let service = arguments.service
        let tls = service.tlsCredentials.map { NBDListing.TLS(credentials: $0, hostname: arguments.tlsHostname) }
        let outcome: Result<String, DaemonStartError> = OwnThread.run { thread in
            do throws(OpenError) {
                return .success(
                    try await NBDListing.text(
                        of: service.address, objects: service.objects, tls: tls, asQEMU: asQEMU, on: thread))
            } catch {
                return .failure(DaemonStartError(option: nil, message: error.message))
            }
        }
        switch outcome {
        case .success(let text): Program.say(text)
        case .failure(let error): Program.fail(error.message, as: program)
        }
    }

    private static func serve(_ arguments: NBDArguments, _ program: String, asQEMU: Bool) {
        for text in arguments.warnings { Program.complain("\(program): warning: \(text)\n") }
        if let device = arguments.device { attach(device, program, "Failed to open") }
        // Before the I/O thread starts: only the thread that forks lives on in the child.
        let notify = arguments.forks ? nacre_detach() : nil
        if let notify, notify < 0 { Program.fail("Failed to fork (errno \(-notify))", as: program) }
        let pidFile = Mutex<PIDFile?>(nil)
        let configuration = DaemonConfiguration(
            version: Program.version, backing: asQEMU ? .qemu : .ownFolder, actsAsQEMU: asQEMU,
            daemonizes: arguments.forks)
        do throws(DaemonStartError) {
            try Daemon.serve(
                arguments.service, configuration: configuration, warn: { Program.complain($0 + "\n") }
            ) { () throws(DaemonStartError) in
                if let path = arguments.pidFile {
                    do throws(OpenError) {
                        let file = try PIDFile(path)
                        pidFile.withLock { $0 = file }
                    } catch { throw DaemonStartError(option: nil, message: error.message) }
                }
                if let notify, nacre_detached(notify) < 0 {
                    throw DaemonStartError(option: nil, message: "could not detach from the terminal")
                }
            }
        } catch {
            pidFile.withLock { $0?.remove() }
            Program.fail(error.message, as: program)
        }
        pidFile.withLock { $0?.remove() }
    }

    /// The kernel's client is reached through a device.
    private static func attach(_ device: String, _ program: String, _ failure: String) -> Never {
        guard HostPath.kind(of: device) != nil else {
            Program.fail("\(failure) \(device): No such file or directory", as: program)
        }
        Program.fail(
            "\(device): the kernel's NBD client is not supported; nbd-client attaches a served image", as: program)
    }
}
