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
        let items: [OptionScanner.Item]
        do { items = try OptionScanner(Self.known(asQEMU: asQEMU)).scan(arguments) } catch {
            throw Mistake(message: Self.text(error))
        }
        // Whatever else stands on the line, the first of these two is answered.
        for case .option(let name, _, _) in items where name == "help" || name == "version" {
            request = name == "help" ? .help : .version
            return
        }
        for item in items {
            switch item {
            case .operand(let word): throw Mistake(message: "\(word): Unexpected argument")
            case .option(let name, let value, let words): try take(name, value ?? "", words)
            }
        }
        if isSealed, !allowedPaths.isEmpty {
            throw Mistake(message: "--sealed and --allow-path exclude each other")
        }
    }

    private mutating func take(_ name: String, _ value: String, _ words: String) throws(Mistake) {
        switch name {
        case "daemonize": daemonizes = true
        case "pidfile": pidFile = value
        case "sealed": isSealed = true
        case "allow-path": allowedPaths.append(value)
        case "memory": memory = try Self.memory(value)
        case "trace": warnings.append("\(words): warning: trace event '\(value)' does not exist")
        default:
            guard let kind = DaemonOption.Kind(rawValue: name) else {
                preconditionFailure("the scanner knows no \(name)")
            }
            options.append(DaemonOption(kind, value))
            self.words.append(words)
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

    private static func known(asQEMU: Bool) -> [OptionScanner.Option] {
        var result: [OptionScanner.Option] = [
            .init("help", short: "h"), .init("version", short: "V"), .init("trace", short: "T", takesValue: true),
            .init("daemonize"), .init("pidfile", takesValue: true),
        ]
        // QEMU's has no devices.
        let kinds = DaemonOption.Kind.allCases.filter { !asQEMU || $0 != .device }
        result += kinds.map { .init($0.rawValue, takesValue: true) }
        if !asQEMU {
            result += [.init("sealed"), .init("allow-path", takesValue: true), .init("memory", takesValue: true)]
        }
        return result
    }

    private static func text(_ mistake: OptionScanner.Mistake) -> String {
        switch mistake {
        case .unknownLong(let word): "unrecognized option '\(word)'"
        case .unknownShort(let letter, _): "invalid option -- '\(letter)'"
        case .ambiguous(let word, let names):
            "option '\(word)' is ambiguous; possibilities: \(names.map { "'\($0)'" }.joined(separator: " "))"
        case .missingValue(let word, nil): "option '\(word)' requires an argument"
        case .missingValue(_, let letter?): "option requires an argument -- '\(letter)'"
        case .unexpectedValue(let word): "option '\(word)' doesn't allow an argument"
        }
    }

    /// How the option that failed was written.
    func words(of option: DaemonOption) -> String {
        guard let index = options.firstIndex(of: option) else { return "--\(option.kind.rawValue) \(option.text)" }
        return words[index]
    }
}
