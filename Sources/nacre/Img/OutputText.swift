import Glibc

/// Standard output as qemu-img's C library keeps it: shown at once on a terminal, elsewhere when there is more than a block
/// and at the end. Whoever reads it together with standard error sees both in qemu-img's order.
final class OutputText {
    /// Bytes: what the library gathers for a pipe, and for a file on the common file systems.
    static let block = 4096

    private let isTerminal = isatty(STDOUT_FILENO) == 1
    private var held = ""

    func say(_ text: String) {
        // How far a work is, is to be seen while it is going on.
        guard !isTerminal, !text.contains("\r"), held.utf8.count + text.utf8.count < Self.block else {
            return Program.say(take() + text)
        }
        held += text
    }

    /// What is held back, which is not any more.
    func take() -> String {
        defer { held = "" }
        return held
    }
}
