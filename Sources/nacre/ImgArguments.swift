import Block
import Image

/// The command line of `nacre img` and of `qemu-img`, read.
struct ImgArguments {
    enum Command: String, CaseIterable { case amend, bitmap, create, info, check, map, resize, snapshot }

    /// A command line that cannot be carried out; the text stands behind `qemu-img: `.
    struct Mistake: Error, Equatable {
        let message: String
        /// Whether the reader is sent to `--help`.
        var sendsToHelp = true
    }

    typealias Repair = ImageTool.Repair

    /// What `snapshot` shall do, with the name that it was given.
    enum SnapshotAction: Equatable {
        case list
        case create(String)
        case apply(String)
        case delete(String)
    }

    private(set) var command: Command
    private(set) var operands: [String] = []
    private(set) var format: String?
    private(set) var form = ImageTool.Form.human
    private(set) var isQuiet = false
    private(set) var showsProgress = false
    private(set) var forceShare = false
    private(set) var asksForHelp = false
    private(set) var chain = false
    private(set) var repair = Repair.none
    private(set) var doctor = false
    private(set) var start: UInt64 = 0
    private(set) var count: UInt64?
    private(set) var size = ""
    private(set) var options = OptionList()
    private(set) var asksForOptions = false
    private(set) var backingFile: String?
    private(set) var backingFormat: String?
    private(set) var checksBacking = true
    private(set) var snapshotAction: SnapshotAction?
    private(set) var preallocation = Preallocation.off
    private(set) var mayShrink = false
    private(set) var bitmapCommands: [BitmapCommand] = []
    private(set) var granularity: UInt64?
    private(set) var sourceFile: String?
    private(set) var sourceFormat: String?

    /// `arguments` begin behind the command's name.
    init(_ command: Command, _ arguments: [String]) throws(Mistake) {
        self.command = command
        var arguments = arguments
        if command == .resize { try takeSize(&arguments) }
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

    /// The last word is the size, even where it begins like an option: `-1G`.
    private mutating func takeSize(_ arguments: inout [String]) throws(Mistake) {
        if arguments == ["-h"] || arguments == ["--help"] { return }
        guard arguments.count >= 2 else { throw Mistake(message: "Not enough arguments") }
        size = arguments.removeLast()
    }

    private mutating func take(_ name: String, _ value: String) throws(Mistake) {
        switch name {
        case "help": asksForHelp = true
        case "quiet": isQuiet = true
        case "progress": showsProgress = true
        // It is for encryption, which is not there.
        case "force": break
        case "l": try choose(.list)
        case "c": try choose(.create(value))
        case "a": try choose(.apply(value))
        case "d": try choose(.delete(value))
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
        case "granularity": granularity = try position(value, "granularity")
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
        case "doctor": doctor = true
        case "start-offset": start = try position(value, "start offset")
        case "max-length": count = try position(value, "max length")
        case "shrink": mayShrink = true
        case "preallocation":
            guard let mode = Preallocation(rawValue: value) else {
                throw Mistake(message: "Invalid preallocation mode '\(value)'", sendsToHelp: false)
            }
            preallocation = mode
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

    private mutating func choose(_ action: SnapshotAction) throws(Mistake) {
        guard snapshotAction == nil else { throw Mistake(message: "Cannot mix '-l', '-a', '-c', '-d'") }
        snapshotAction = action
    }

    private func position(_ text: String, _ what: String) throws(Mistake) -> UInt64 {
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
        case .amend:
            guard !options.pairs.isEmpty else { throw Mistake(message: "Must specify options (-o)") }
            guard operands.count == 1 else {
                throw Mistake(message: "Expecting one image file name", sendsToHelp: false)
            }
        case .create:
            guard !operands.isEmpty else { throw Mistake(message: "Expecting image file name") }
            guard operands.count <= 2 else { throw Mistake(message: "Unexpected argument: \(operands[2])") }
        case .resize:
            guard operands.count == 1 else { throw Mistake(message: "Expecting image file name and size") }
        case .bitmap: try checkBitmap()
        case .info, .check, .map, .snapshot:
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
        case .amend:
            options += [
                .init("quiet", short: "q"), .init("progress", short: "p"),
                .init("options", short: "o", takesValue: true),
                .init("cache", short: "t", takesValue: true), .init("force"), .init("image-opts"),
            ]
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
                .init("force-share", short: "U"), .init("image-opts"), .init("doctor"),
            ]
        case .resize:
            options += [
                .init("quiet", short: "q"), .init("shrink"), .init("preallocation", takesValue: true),
                .init("image-opts"),
            ]
        case .map:
            options += [
                .init("output", takesValue: true), .init("start-offset", short: "s", takesValue: true),
                .init("max-length", short: "l", takesValue: true), .init("force-share", short: "U"),
                .init("image-opts"),
            ]
        case .snapshot:
            options += [
                .init(nil, short: "l"), .init(nil, short: "c", takesValue: true),
                .init(nil, short: "a", takesValue: true), .init(nil, short: "d", takesValue: true),
                .init("quiet", short: "q"), .init("force-share", short: "U"), .init("image-opts"),
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
