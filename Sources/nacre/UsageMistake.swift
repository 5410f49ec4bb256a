/// A command line that cannot be carried out; the text stands behind `PROGRAM: `.
struct UsageMistake: Error, Equatable {
    let message: String
    /// Whether the reader is sent to `--help`.
    let sendsToHelp: Bool
    let exitCode: Int32

    init(_ message: String, sendsToHelp: Bool = true, exitCode: Int32 = 1) {
        self.message = message
        self.sendsToHelp = sendsToHelp
        self.exitCode = exitCode
    }
}
