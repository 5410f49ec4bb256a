import Image

/// The command line of `nacre img` and of `qemu-img`, read.
struct ImgArguments {
    enum Command: String, CaseIterable { case create, info, check, map, bitmap }

    /// A command line that cannot be carried out; the text stands behind `qemu-img: `.
    struct Mistake: Error, Equatable {
        let message: String
        /// Whether the reader is sent to `--help`.
        var sendsToHelp = true
    }

    typealias Repair = ImageTool.Repair

    private(set) var command: Command
    private(set) var operands: [String] = []
    private(set) var format: String?
    private(set) var form = ImageTool.Form.human
    private(set) var isQuiet = false
    private(set) var forceShare = false
    private(set) var asksForHelp = false
    private(set) var chain = false
    private(set) var repair = Repair.none
    private(set) var start: UInt64 = 0
    private(set) var count: UInt64?
    private(set) var options = OptionList()
    private(set) var asksForOptions = false
    private(set) var backingFile: String?
    private(set) var backingFormat: String?
    private(set) var checksBacking = true
    private(set) var bitmapCommands: [BitmapCommand] = []
    private(set) var granularity: UInt64?
    private(set) var sourceFile: String?
    private(set) var sourceFormat: String?

    /// `arguments` begin behind the command's name.
    init(_ command: Command, _ arguments: [String]) throws(Mistake) {
        self.command = command
        let items: [OptionScanner.Item]
        do { items = try OptionScanner(Self.known(command)).scan(arguments) } catch {
            throw Mistake(message: Self.text(error))
        }
        for item in items {
            switch item {
            case .operand(let word): operands.append(word)
            case .option(let name, let value, _): try take(name, value ?? "")
            }
        }
        if !asksForHelp, !asksForOptions { try checkOperands() }
    }

    private mutating func take(_ name: String, _ value: String) throws(Mistake) {
        switch name {
        case "help": asksForHelp = true
        case "quiet": isQuiet = true
        case "force-share": forceShare = true
        case "format": format = value
        case "backing-chain": chain = true
        case "unsafe": checksBacking = false
        case "backing-file": backingFile = value
        case "backing-format": backingFormat = value
        case "add": bitmapCommands.append(.add)
        case "remove": bitmapCommands.append(.remove)
        case "clear": bitmapCommands.append(.clear)
        case "enable": bitmapCommands.append(.enable)
        case "disable": bitmapCommands.append(.disable)
        case "merge": bitmapCommands.append(.merge(value))
        case "granularity": granularity = try size(value, "granularity")
        case "source-file": sourceFile = value
        case "source-format": sourceFormat = value
        case "object", "image-opts", "cache", "trace":
            throw Mistake(message: "option '\(name)' is not supported", sendsToHelp: false)
        case "output":
            guard let known = ImageTool.Form(rawValue: value) else {
                throw Mistake(message: "--output must be used with human or json as argument.", sendsToHelp: false)
            }
            form = known
        case "repair":
            guard value == "leaks" || value == "all" else {
                throw Mistake(message: "Unknown option value for -r (expecting 'leaks' or 'all'): \(value)")
            }
            repair = value == "all" ? .all : .leaks
        case "start-offset": start = try size(value, "start offset")
        case "max-length": count = try size(value, "max length")
        case "options":
            if value == "help" || value == "?" {
                asksForOptions = true
                return
            }
            guard !value.isEmpty, !value.hasPrefix(","), !value.hasSuffix(",") else {
                throw Mistake(message: "Invalid option list: \(value)", sendsToHelp: false)
            }
            options.append(OptionList(value))
        default: preconditionFailure("the scanner knows no \(name)")
        }
    }

    private func size(_ text: String, _ what: String) throws(Mistake) -> UInt64 {
        do { return try SizeText.parse(text) } catch .malformed {
            throw Mistake(
                message: """
                    Invalid \(what) specified. You may use k, M, G, T, P or E suffixes for
                    kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.
                    """, sendsToHelp: false)
        } catch {
            throw Mistake(
                message: "Invalid \(what) specified. Must be between 0 and \(Int64.max).", sendsToHelp: false)
        }
    }

    private func checkOperands() throws(Mistake) {
        switch command {
        case .create:
            guard !operands.isEmpty else { throw Mistake(message: "Expecting image file name") }
            guard operands.count <= 2 else { throw Mistake(message: "Unexpected argument: \(operands[2])") }
        case .bitmap: try checkBitmap()
        case .info, .check, .map:
            guard operands.count == 1 else { throw Mistake(message: "Expecting one image file name") }
        }
    }

    private func checkBitmap() throws(Mistake) {
        func refuse(_ message: String) throws(Mistake) { throw Mistake(message: message, sendsToHelp: false) }
        let merges = bitmapCommands.contains { if case .merge = $0 { true } else { false } }
        if operands.count != 2 { try refuse("Expecting filename and bitmap name") }
        if bitmapCommands.isEmpty {
            try refuse("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
        }
        if granularity != nil, !bitmapCommands.contains(.add) { try refuse("granularity only supported with --add") }
        if sourceFormat != nil, sourceFile == nil { try refuse("-F only supported with -b") }
        if sourceFile != nil, !merges { try refuse("Merge bitmap source file only supported with --merge") }
    }

    private static func known(_ command: Command) -> [OptionScanner.Option] {
        var options: [OptionScanner.Option] = [
            .init("help", short: "h"), .init("object", takesValue: true), .init("format", short: "f", takesValue: true),
        ]
        switch command {
        case .create:
            options += [
                .init("quiet", short: "q"), .init("unsafe", short: "u"),
                .init("backing-file", short: "b", takesValue: true),
                .init("backing-format", short: "F", takesValue: true), .init("options", short: "o", takesValue: true),
            ]
        case .info:
            options += [
                .init("output", takesValue: true), .init("backing-chain"), .init("force-share", short: "U"),
                .init("image-opts"),
            ]
        case .check:
            options += [
                .init("output", takesValue: true), .init("repair", short: "r", takesValue: true),
                .init("quiet", short: "q"), .init("cache", short: "T", takesValue: true),
                .init("force-share", short: "U"), .init("image-opts"),
            ]
        case .map:
            options += [
                .init("output", takesValue: true), .init("start-offset", short: "s", takesValue: true),
                .init("max-length", short: "l", takesValue: true), .init("force-share", short: "U"),
                .init("image-opts"),
            ]
        case .bitmap:
            options += ["add", "remove", "clear", "enable", "disable"].map { .init($0) }
            options += [
                .init("merge", takesValue: true), .init("granularity", short: "g", takesValue: true),
                .init("source-file", short: "b", takesValue: true),
                .init("source-format", short: "F", takesValue: true), .init("image-opts"),
            ]
        }
        return options
    }

    private static func text(_ mistake: OptionScanner.Mistake) -> String {
        switch mistake {
        case .unknownLong(let word): "unrecognized option '\(word)'"
        case .unknownShort(_, let word): "unrecognized option '\(word)'"
        case .ambiguous(let word, _): "unrecognized option '\(word)'"
        case .missingValue(let word, _): "missing argument for option '\(word)'"
        case .unexpectedValue(let word): "unrecognized option '\(word)'"
        }
    }
}
