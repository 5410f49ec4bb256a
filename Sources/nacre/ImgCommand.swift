import Foundation
import Image

/// `nacre img`, and `qemu-img` where the program is called by that name.
enum ImgCommand {
    static func run(_ words: [String], asQEMU: Bool) -> Never {
        let program = asQEMU ? "qemu-img" : "nacre img"
        guard let first = words.first else { misuse("Not enough arguments", program) }
        switch first {
        case "-h", "--help":
            Program.say(help(program))
            exit(0)
        case "-V", "--version":
            Program.say(
                asQEMU
                    ? "qemu-img version \(Program.qemuVersion) (nacre \(Program.version))\n"
                    : "nacre \(Program.version)\n")
            exit(0)
        default: break
        }
        guard let command = ImgArguments.Command(rawValue: first) else {
            misuse(first.hasPrefix("-") ? "unrecognized option '\(first)'" : "Command not found: \(first)", program)
        }
        do throws(ImgArguments.Mistake) {
            let arguments = try ImgArguments(command, Array(words.dropFirst()))
            if arguments.asksForHelp { answer(help(program)) }
            if arguments.asksForOptions {
                let format = arguments.format ?? "raw"
                answer(
                    command == .amend
                        ? amendHelp(format) : optionHelp(format, isNamed: !arguments.operands.isEmpty))
            }
            carryOut(arguments, asQEMU: asQEMU, program)
        } catch {
            guard error.sendsToHelp else { complain(error.message, program) }
            misuse(error.message, program)
        }
    }

    private static func answer(_ text: String) -> Never {
        Program.say(text)
        exit(0)
    }

    private static func misuse(_ message: String, _ program: String) -> Never {
        Program.complain("\(program): \(message)\nTry '\(program) --help' for more information\n")
        exit(1)
    }

    private static func complain(_ message: String, _ program: String) -> Never {
        Program.complain(lines(message, program))
        exit(1)
    }

    /// A further line of a message stands behind the program's name too where qemu-img has it so: of sizes and warnings.
    private static func lines(_ message: String, _ program: String) -> String {
        var text = message
        for start in ["kilo", "warning: "] { text = text.replacing("\n" + start, with: "\n\(program): \(start)") }
        return "\(program): \(text)\n"
    }

    private static func carryOut(_ arguments: ImgArguments, asQEMU: Bool, _ program: String) -> Never {
        let outcome = ImgRun(arguments: arguments, asQEMU: asQEMU).finish()
        switch outcome {
        case .success(let code): exit(code)
        case .failure(let error):
            Program.complain(lines(error.message, program))
            exit(error.exitCode)
        }
    }
}
