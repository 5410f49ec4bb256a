import Commands
import Daemon
import Image

/// The command line of `nacre daemon` and of `qemu-storage-daemon`, read.
struct DaemonArguments {
    enum Request: Equatable { case serve, help, version }

    var request: Request = .serve
    /// In the order in which they were given.
    var options: [DaemonOption] = []
    /// The options' own words, at the same indices.
    var words: [String] = []
    var pidFile: String?
    var daemonizes = false
    var isSealed = false
    var allowedPaths: [String] = []
    /// Bytes that all clients together may make the daemon hold.
    var memory = DaemonConfiguration.standardMemory
    /// Said before anything is carried out.
    var warnings: [String] = []

    /// A command line that cannot be carried out; the text stands behind `PROGRAM: `.
    struct Mistake: Error, Equatable { let message: String }

    /// `asQEMU`: only the options of qemu-storage-daemon are known.
    init(_ arguments: [String], asQEMU: Bool) throws(Mistake) {
        let read: CommandWords
        do { read = try (asQEMU ? DaemonCommand.qemuSyntax : DaemonCommand.syntax).read(arguments) } catch {
            throw Mistake(message: error.message)
        }
        // Whatever else stands on the line, the first of these two is answered.
        for given in read.options where given.option.long == "help" || given.option.long == "version" {
            request = given.option.long == "help" ? .help : .version
            return
        }
        if let word = read.operands.first { throw Mistake(message: "\(word): Unexpected argument") }
        for given in read.options { try take(given) }
        if isSealed, !allowedPaths.isEmpty {
            throw Mistake(message: "--sealed and --allow-path exclude each other")
        }
    }

    private mutating func take(_ given: CommandWords.Given) throws(Mistake) {
        switch given.option.long {
        case DaemonCommand.daemonize.long: daemonizes = true
        case DaemonCommand.pidFile.long: pidFile = given.value
        case DaemonCommand.sealed.long: isSealed = true
        case DaemonCommand.allowPath.long: allowedPaths.append(given.value)
        case DaemonCommand.memory.long: memory = try Self.memory(given.value)
        case let name:
            if let kind = DaemonOption.Kind(rawValue: name) {
                options.append(DaemonOption(kind, given.value))
                words.append(given.words)
            } else {
                warnings.append("\(given.words): warning: trace event '\(given.value)' does not exist")
            }
        }
    }

    private static func memory(_ text: String) throws(Mistake) -> Int {
        guard let bytes = try? SizeText.parse(text) else {
            throw Mistake(message: "--memory: '\(text)' is not a size, such as 512M")
        }
        guard bytes >= DaemonConfiguration.leastMemory, let result = Int(exactly: bytes) else {
            throw Mistake(message: "--memory: at least \(DaemonConfiguration.leastMemory >> 20)M")
        }
        return result
    }

    /// How the option that failed was written.
    func words(of option: DaemonOption) -> String {
        guard let index = options.firstIndex(of: option) else { return "--\(option.kind.rawValue) \(option.text)" }
        return words[index]
    }
}
