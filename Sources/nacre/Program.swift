import Glibc
import HostStorage
import Logging

/// What the program is called, and what it says to people.
enum Program {
    static let version = "0.1.0"

    /// The QEMU release whose behaviour is the reference.
    static let qemuVersion = "7.2.22"

    /// The name before messages: as which program it was started.
    static let name = CommandLine.arguments.first?.split(separator: "/").last.map(String.init) ?? "nacre"

    /// Lets the log take nothing below this level. Once, before anything is logged.
    static func logs(from level: Logger.Level) {
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
    }

    /// Writes to standard output at once, also where it is a pipe.
    static func say(_ text: String) { HostText.write(text, to: STDOUT_FILENO) }

    static func complain(_ text: String) { HostText.write(text, to: STDERR_FILENO) }

    /// `NAME: message` on standard error, then the end.
    static func fail(_ message: String, as program: String = "nacre", code: Int32 = 1) -> Never {
        complain("\(program): \(message)\n")
        exit(code)
    }

    /// A command line that nobody can carry out: what is wrong with it, and where to read how it should be.
    static func misuse(_ message: String, as program: String) -> Never {
        fail("\(message)\nTry '\(program) --help' for more information", as: program)
    }
}
