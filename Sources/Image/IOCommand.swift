/// One command of `qemu-io`: read, write, discard, flush, length, truncate, and their variants. It runs on any storage
/// and answers what the tool prints, to the letter but for the time it took.
///
/// Not of this list: `open`, `close`, `reopen`, what belongs to breakpoints, zones and saved machine states.
public struct IOCommand: Equatable, Sendable {
    public enum Operation: Equatable, Sendable {
        case read, write, discard, flush, length, truncate
    }

    public let operation: Operation
    /// The name it was called by, without `aio_`: `readv` is a read in several buffers.
    let name: String
    /// Bytes. Of `truncate` it is the new length.
    var offset: UInt64 = 0
    var count: UInt64 = 0
    var options = Options()

    /// The letters it was given.
    struct Options: Equatable, Sendable {
        /// `-C`: figures separated by commas.
        var isTerse = false
        /// `-q`: no figures.
        var isQuiet = false
        /// `-v`: the bytes that were read.
        var isVerbose = false
        /// `-P`: the byte to write, or to find.
        var pattern: UInt8?
        /// `-s` and `-l` of read: where in the buffer the pattern is looked for.
        var patternOffset: UInt64 = 0
        var patternCount: UInt64?
        /// `-z`, `-u`, `-n`: writes zeros, which may give space back, or only if that is fast.
        var isZero = false
        var mayUnmap = false
        var isFastOnly = false
        /// `-f`: durable at once.
        var isForced = false
    }

    /// Whether it changes the disk.
    public var isWriting: Bool { operation == .write || operation == .discard || operation == .truncate }

    /// The longest request, in bytes: QEMU's.
    static let longest: UInt64 = 2_147_483_136
    /// The most bytes that `-v` shows: their text is kept in memory.
    static let longestDump: UInt64 = 1 << 20

    /// Why a line is no command: what the tool prints.
    public struct Mistake: Error, Equatable, Sendable {
        public let message: String

        init(_ message: String) { self.message = message }
    }

    /// Reads a line. Nil: it is empty.
    public init?(_ line: String) throws(Mistake) {
        let words = line.split(separator: " ").map(String.init)
        guard let called = words.first else { return nil }
        guard let form = Self.form(of: called) else { throw Mistake("command \"\(called)\" not found\n") }
        operation = form.operation
        name = form.name
        let operands = try take(words.dropFirst(), form, called)
        // What is too little is told by what was given in all, as the tool counts.
        guard words.count - 1 >= form.least, form.most > 0 || words.count == 1 else {
            throw Mistake(form.miscounted(words.count - 1, called))
        }
        guard operands.count >= form.least, operands.count <= form.most else { throw Mistake(form.usage + "\n") }
        try take(operands)
        try check()
    }

    private mutating func take(_ operands: [String]) throws(Mistake) {
        guard let first = operands.first else { return }
        offset = try Self.number(first)
        // Several buffers are one request.
        for operand in operands.dropFirst() {
            let part = try Self.number(operand)
            let (sum, overflow) = count.addingReportingOverflow(part)
            guard !overflow, sum <= Self.longest else {
                throw Mistake("length cannot exceed \(Self.longest), given \(operand)\n")
            }
            count = sum
        }
    }

    private func check() throws(Mistake) {
        if options.isZero, options.pattern != nil {
            throw Mistake("-z and -P cannot be specified at the same time\n")
        }
        if options.mayUnmap, !options.isZero { throw Mistake("-u requires -z to be specified\n") }
        if options.isFastOnly, !options.isZero { throw Mistake("-n requires -z to be specified\n") }
        if operation == .read, options.pattern == nil, options.patternOffset > 0 || options.patternCount != nil {
            throw Mistake("pattern offset or length without a pattern (-P)\n")
        }
        let end = options.patternOffset.addingReportingOverflow(options.patternCount ?? 0)
        if end.overflow || end.partialValue > count, options.patternOffset > 0 || options.patternCount != nil {
            throw Mistake("pattern verification range exceeds end of read data\n")
        }
        if options.isVerbose, count > Self.longestDump {
            throw Mistake("-v shows at most \(Self.longestDump) bytes\n")
        }
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
