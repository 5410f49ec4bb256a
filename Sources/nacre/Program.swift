import Foundation
import Logging

/// What the program is called, and what it says to people.
enum Program {
    static let version = "0.1.0"

    /// The QEMU release whose behaviour is the reference.
    static let qemuVersion = "7.2.22"

    /// The name before messages: as which program it was started.
    static let name = URL(filePath: CommandLine.arguments.first ?? "nacre").lastPathComponent

    /// Lets the log take nothing below this level. Once, before anything is logged.
    static func logs(from level: Logger.Level) {
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
    }

    /// Writes to standard output at once, also where it is a pipe.
    static func say(_ text: String) { write(text, to: .standardOutput) }

    static func complain(_ text: String) { write(text, to: .standardError) }

    /// In pieces: a list of all that an image claims to have is long, and is not copied whole.
    private static func write(_ text: String, to file: FileHandle) {
        var rest = text.utf8[...]
        repeat {
            let piece = rest.prefix(64 << 10)
            file.write(Data(piece))
            rest = rest[piece.endIndex...]
        } while !rest.isEmpty
    }

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
