import Commands
import HostIO
import Image

/// A command of the image tool: what it takes, and what it does. Every one is a type of its own, and stands in
/// `ImgProgram.commands`.
protocol ImgCommand: Sendable {
    static var syntax: CommandSyntax { get }

    /// Reads the command line. What is wrong with it is told as qemu-img tells it, before anything is opened.
    init(_ words: CommandWords) throws(UsageMistake)

    /// Carries it out, and answers the exit code.
    func run(_ session: ImgSession) async throws(ImageError) -> Int32
}

/// What a command of the image tool runs with.
struct ImgSession {
    let tool: ImageTool
    /// The I/O thread that it runs on.
    let thread: IOThread
    /// Whether the program was called `qemu-img`: QEMU's rules hold where ours differ on purpose.
    let asQEMU: Bool

    /// Says on standard error what is to be known of a work that goes on.
    func warn(_ text: String) { Program.complain("\(asQEMU ? "qemu-img" : "nacre img"): \(text)\n") }

    /// Tells of a new file that is raw by default though its name says otherwise: most often it was meant.
    func tellOfDefault(_ path: String, format: String?, option: String) {
        guard !asQEMU, format == nil, path.hasSuffix(".qcow2") else { return }
        warn("'\(path)' becomes raw, since no format is given: \(option) qcow2 makes it qcow2")
    }
}
