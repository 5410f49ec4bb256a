public import Block
import Graph

/// Carries out commands of `qemu-io`, line by line, as QEMU 7.2's tool does: what is printed, and which commands fail. On
/// the image that it was given, or, in a program of its own, on what its commands open.
///
/// Confined to its context.
public final class IOShell {
    /// The program around it.
    public struct Surroundings {
        /// Takes text for standard output and for standard error.
        public var say: (String) -> Void
        public var complain: (String) -> Void
        /// Takes a message that stands behind the program's name.
        public var report: (String) -> Void
        /// Reads a file of a pattern; nil: there are no files here.
        public var contents: ((_ path: String, _ limit: Int) throws(OpenError) -> [UInt8])?
        /// Opens an image; nil: images are not opened here.
        public var open: ((IOOpening) async throws(OpenError) -> any IOTarget)?
        /// Raises a signal in the process; nil: not here.
        public var raise: ((Int32) -> Void)?
        /// Bytes that are moved at a time, however long the request: a bound for the buffer.
        public var piece = 4 << 20
        /// The most bytes that `-v` shows: in memory, where the text is kept.
        public var longestDump = UInt64(1) << 20

        public init(
            say: @escaping (String) -> Void, complain: @escaping (String) -> Void, report: @escaping (String) -> Void
        ) {
            self.say = say
            self.complain = complain
            self.report = report
        }
    }

    /// What became of a line.
    public enum Outcome: Equatable, Sendable { case done, failed, ended }

    let context: any IOContext
    let around: Surroundings
    public internal(set) var target: (any IOTarget)?
    /// Whether any command was to change an image.
    public private(set) var hasWritten = false
    /// Requests that were begun and have not ended.
    private var pending = 0
    private let settled = WaitQueue()

    public init(_ context: any IOContext, _ around: Surroundings, target: (any IOTarget)? = nil) {
        self.context = context
        self.around = around
        self.target = target
    }

    /// Carries out one line.
    public func run(_ line: String) async -> Outcome {
        do throws(IOCommand.Mistake) {
            guard let line = try IOCommand.Line(line) else { return .done }
            guard isKnown(line.form) else {
                throw IOCommand.Mistake("", complaint: "command \"\(line.called)\" not found\n")
            }
            if line.form.operation == .quit { return .ended }
            guard target != nil || !line.form.needsImage else {
                throw IOCommand.Mistake("", complaint: "no file open, try 'help open'\n")
            }
            try line.checkCount()
            return try await run(line) ? .done : .failed
        } catch {
            // A complaint that is no line of its own stands behind the program's name.
            if !error.complaint.isEmpty {
                error.complaint.hasSuffix("\n") ? around.complain(error.complaint) : around.report(error.complaint)
            }
            if !error.message.isEmpty { around.say(error.message) }
            return .failed
        }
    }

    func isKnown(_ form: IOCommand.Form) -> Bool {
        switch form.operation {
        // Whoever is connected to a daemon does not make it wait, nor end it.
        case .sleep, .waitBreak, .sigraise, .abort: around.raise != nil
        default: around.open != nil || !form.isOfProgram
        }
    }

    /// What a write needs is asked for before its options are read.
    private func run(_ line: IOCommand.Line) async throws(IOCommand.Mistake) -> Bool {
        switch line.form.operation {
        case .help: return help(line.words.first)
        case .open where target != nil:
            _ = try IOCommand(line)
            around.report("file open already, try 'help close'")
            return false
        case .open: return await open(try IOCommand(line))
        default: break
        }
        let needed = IOCommand.permissions(of: line.form.operation)
        if needed != .consistentRead, let target, target.lasting != nil {
            let isAllowed = await attempt { () async throws(OpenError) in try await target.use(needed) { _ in true } }
            guard isAllowed else { return false }
        }
        let command = try IOCommand(line)
        return await run(command)
    }

    /// Carries out a command. False where it failed.
    func run(_ command: IOCommand) async -> Bool {
        if command.isWriting { hasWritten = true }
        switch command.operation {
        case .sleep: await context.sleep(ms: command.count)
        case .sigraise: around.raise?(Int32(command.count))
        // SIGABRT.
        case .abort: around.raise?(6)
        case .close: await close()
        case .settle: await settle()
        case .reopen: return await reopen(command)
        case .info: return info()
        case .setBreak, .removeBreak, .resumeBreak, .waitBreak: return await breakpoint(command)
        case .truncate:
            guard let target else { return false }
            return await attempt { () async throws(OpenError) in
                try await target.resize(to: command.offset, command.options.preallocation)
                return true
            }
        case .read, .write, .discard, .flush, .length, .map, .alloc: return await request(command)
        case .help, .open, .quit: break
        }
        return true
    }

    /// Does what may be refused, and tells why it was.
    func attempt(_ body: () async throws(OpenError) -> Bool) async -> Bool {
        do throws(OpenError) { return try await body() } catch {
            around.report(error.message)
            return false
        }
    }

    private func request(_ command: IOCommand) async -> Bool {
        guard let target else { return false }
        if command.isAsynchronous {
            if command.options.isInvalid {
                around.say("injecting invalid \(command.operation == .read ? "read" : "write") request\n")
                return true
            }
            // Begun, that is all that counts.
            guard let storage = target.lasting else {
                return await attempt { () async throws(OpenError) in
                    _ = try await target.use(command.permissions) { await perform(command, on: $0) }
                    return true
                }
            }
            return await attempt { () async throws(OpenError) in
                try await target.use(command.permissions) { _ in true }
            } && begin(command, on: storage)
        }
        return await attempt { () async throws(OpenError) in
            guard command.options.isVMState else {
                return try await target.use(command.permissions) { await perform(command, on: $0) }
            }
            return try await target.useVMState(command.permissions) { state in
                if let state { return await perform(command, on: state) }
                around.say(command.failure(.unsupported))
                return false
            }
        }
    }

    // MARK: Requests that outlive their command

    private func begin(_ command: IOCommand, on storage: any Storage) -> Bool {
        pending += 1
        context.spawn { [self] in
            _ = await perform(command, on: storage)
            pending -= 1
            if pending == 0 { settled.wakeAll() }
        }
        return true
    }

    /// Waits until all that was begun has ended.
    private func settle() async { while pending > 0 { await settled.wait() } }

    /// Closes the image, if one is open; what was begun ends first.
    public func close() async {
        guard let target else { return }
        self.target = nil
        // Nobody is left who could resume what stands still.
        target.resumeAll()
        await settle()
        await target.close()
    }
}
