import Block
import Graph

/// One command of `qemu-io`, as it was read: what is to be done, where, and with which options. `IOShell` carries it out.
///
/// Texts, limits and the order of checks are those of QEMU 7.2's tool.
public struct IOCommand: Equatable, Sendable {
    public enum Operation: Equatable, Sendable {
        case read, write, discard, flush, length, truncate
        /// What the image says of itself.
        case info, map, alloc
        /// Opening, and what is changed of an open image.
        case open, close, reopen
        /// Requests that stand still.
        case setBreak, removeBreak, resumeBreak, waitBreak
        /// What needs no image.
        case help, quit, sleep, sigraise, abort
        /// Waits for all requests that were begun (`aio_flush`).
        case settle
    }

    public let operation: Operation
    /// What messages call it: `readv` is a read in several buffers.
    let name: String
    /// Bytes. Of `truncate` it is the new length.
    var offset: UInt64 = 0
    var count: UInt64 = 0
    var options = Options()
    /// What stands behind the command that is no number of bytes.
    var words: [String] = []

    /// The letters it was given.
    struct Options: Equatable, Sendable {
        /// `-C`: figures separated by commas.
        var isTerse = false
        /// `-q`: neither figures nor bytes.
        var isQuiet = false
        /// `-v`: the bytes that were read.
        var isVerbose = false
        /// `-P`: the byte to write, or to find.
        var pattern: UInt8?
        /// `-s` and `-l` of read: where in the buffer the pattern is looked for.
        var patternOffset: UInt64 = 0
        var patternCount: UInt64?
        /// `-s` of write: the file whose bytes are written, again and again.
        var patternFile: String?
        /// `-z`, `-u`, `-n`: writes zeros, which may give space back, or only if that is fast.
        var isZero = false
        var mayUnmap = false
        var isFastOnly = false
        /// `-f`: durable at once.
        var isForced = false
        /// `-c`: kept compressed.
        var isCompressed = false
        /// `-b`: in the saved state of a machine, not on the disk.
        var isVMState = false
        /// `-i`: counted as a request that is no request.
        var isInvalid = false
        /// `-m` of truncate.
        var preallocation = Preallocation.off
        /// All options of open and reopen, in their order.
        var given: [GivenOption] = []
    }

    /// An option of `open` or `reopen`, with its value.
    struct GivenOption: Equatable, Sendable {
        let letter: Character
        let value: String
    }

    /// Whether it returns before its request has ended.
    var isAsynchronous = false

    /// Whether the bytes that it reads are shown.
    var showsBytes: Bool { operation == .read && options.isVerbose && !options.isQuiet }

    /// Whether it changes the disk.
    public var isWriting: Bool { operation == .write || operation == .discard || operation == .truncate }

    /// What it needs to be allowed on the image.
    var permissions: Permissions { Self.permissions(of: operation) }

    static func permissions(of operation: Operation) -> Permissions {
        switch operation {
        case .truncate: [.consistentRead, .write, .resize]
        case .write, .discard: [.consistentRead, .write]
        default: .consistentRead
        }
    }

    /// The longest request, in bytes: QEMU's.
    static let longest: UInt64 = 2_147_483_136

    /// Why a line is no command: what the tool prints, and whether that goes to standard error.
    public struct Mistake: Error, Equatable, Sendable {
        public let message: String
        /// What stands before it on standard error.
        public let complaint: String

        init(_ message: String, complaint: String = "") {
            self.message = message
            self.complaint = complaint
        }
    }

    /// A line that begins with a known command, which has been given as many words as it takes.
    struct Line {
        let form: Form
        /// As it was called.
        let called: String
        let words: [String]

        /// Nil: the line is empty.
        init?(_ line: String) throws(Mistake) {
            let words = line.split(separator: " ").map(String.init)
            guard let called = words.first else { return nil }
            guard let form = Form.named(called) else {
                throw Mistake("", complaint: "command \"\(called)\" not found\n")
            }
            self.form = form
            self.called = called
            self.words = Array(words.dropFirst())
        }

        func checkCount() throws(Mistake) {
            guard words.count >= form.least, words.count <= form.most else {
                throw Mistake("", complaint: form.miscounted(words.count, called))
            }
        }
    }

    /// Reads a line. Nil: it is empty.
    public init?(_ line: String) throws(Mistake) {
        guard let line = try Line(line) else { return nil }
        try line.checkCount()
        try self.init(line)
    }

    init(_ line: Line) throws(Mistake) {
        operation = line.form.operation
        name = line.form.name
        isAsynchronous = line.form.isAsynchronous
        let operands = try take(line.words[...], line)
        try take(operands, line.form)
    }

    static func number(_ text: String) throws(Mistake) -> UInt64 {
        do throws(SizeText.Mistake) { return try SizeText.parse(text) } catch {
            switch error {
            case .malformed:
                throw Mistake(
                    "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- \(text)\n")
            case .outOfRange: throw Mistake("Parsing error: argument too large -- \(text)\n")
            }
        }
    }
}
