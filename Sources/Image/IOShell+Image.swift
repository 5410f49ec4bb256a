public import Block
import Filters
import Graph
import Qcow2

// Commands about the open image as a whole.
extension IOShell {
    // MARK: info

    func info() -> Bool {
        guard let details = target?.details else {
            around.report("there is no image")
            return false
        }
        var text = "format name: \(details.format)\n"
        // A protocol is told by both of its names.
        if !details.isFormat { text += "format name: \(details.format)\n" }
        guard target?.tellsLayout == true else {
            around.say(text)
            return false
        }
        text += "cluster size: \(IOCommand.scaled(Double(details.clusterSize ?? 0)))\n"
        text += "vm state offset: \(IOCommand.scaled(Double(details.machineStateOffset)))\n"
        if let qcow2 = ImageInfo(details).qcow2 {
            text += "Format specific information:\n" + qcow2.lines.map { "    \($0)\n" }.joined()
        }
        around.say(text)
        return true
    }

    // MARK: Opening

    func open(_ command: IOCommand) async -> Bool {
        var opening = IOOpening(filename: command.words.first)
        for option in command.options.given {
            guard take(option, &opening) else { return false }
        }
        return await open(opening)
    }

    /// Opens an image for the commands that follow.
    public func open(_ opening: IOOpening) async -> Bool {
        guard let open = around.open else { return false }
        do throws(OpenError) { target = try await open(opening) } catch {
            around.report("can't open\(opening.filename.map { " device \($0)" } ?? ""): \(error.text)")
            return false
        }
        return true
    }

    private func take(_ option: IOCommand.GivenOption, _ opening: inout IOOpening) -> Bool {
        switch option.letter {
        case "r": opening.isReadOnly = true
        case "s": opening.isSnapshot = true
        case "C": opening.copiesOnRead = true
        case "n": opening.cache = .direct
        case "U": opening.forceShare = true
        case "k": opening.aio = .native
        case "o": opening.options.append(options(option.value))
        default:
            do throws(OpenError) { try opening.take(String(option.letter), option.value) } catch {
                around.report(error.message)
                return false
            }
        }
        return true
    }

    /// Reads options of a driver; what is old-fashioned about them is told.
    private func options(_ text: String) -> OptionList {
        for warning in OptionList.warnings(text) { around.report("warning: \(warning)") }
        return OptionList(text)
    }

    func reopen(_ command: IOCommand) async -> Bool {
        var reopening = IOReopening()
        for option in command.options.given {
            switch option.letter {
            case "r", "w":
                guard reopening.isReadOnly == nil else {
                    around.report("Only one -r/-w option may be given")
                    return false
                }
                reopening.isReadOnly = option.letter == "r"
            case "c":
                guard let mode = CacheMode(word: option.value) else {
                    around.report("Invalid cache option: \(option.value)")
                    return false
                }
                reopening.cache = mode
            default: reopening.options.append(options(option.value))
            }
        }
        if reopening.isReadOnly != nil, reopening.options["read-only"] != nil {
            around.report("Cannot set both -r/-w and 'read-only'")
            return false
        }
        if reopening.cache != nil, reopening.options.pairs.contains(where: { $0.key.hasPrefix("cache.") }) {
            around.report("Cannot set both -c and the cache options")
            return false
        }
        guard let target else { return false }
        return await attempt { () async throws(OpenError) in
            try await target.reopen(reopening)
            return true
        }
    }

    // MARK: Breakpoints

    func breakpoint(_ command: IOCommand) async -> Bool {
        guard let target, let first = command.words.first else { return false }
        // As the C library words ENOENT.
        let missing = "No such file or directory"
        do throws(BlockError) {
            switch command.operation {
            case .setBreak:
                guard let event = FaultEvent(rawValue: first), event != .none else {
                    // What has no breakpoints is told first.
                    _ = try target.resumeBreakpoint("")
                    around.say("Could not set breakpoint: \(missing)\n")
                    return false
                }
                let say = around.say
                try target.setBreakpoint(on: event, tag: command.words[1]) { say($0 + "\n") }
            case .removeBreak:
                guard try target.removeBreakpoint(first) else {
                    around.say("Could not remove breakpoint \(first): \(missing)\n")
                    return false
                }
            case .resumeBreak:
                guard try target.resumeBreakpoint(first) else {
                    around.say("Could not resume request: \(missing)\n")
                    return false
                }
            default: try await target.waitForBreakpoint(first)
            }
        } catch {
            let what =
                switch command.operation {
                case .setBreak: "set breakpoint"
                case .removeBreak: "remove breakpoint \(first)"
                case .resumeBreak: "resume request"
                default: "wait for breakpoint"
                }
            around.say("Could not \(what): \(error.sentence)\n")
            return false
        }
        return true
    }
}

extension IOOpening {
    /// Takes an option that the tool has on its own command line too. What it says stands behind the program's name.
    public mutating func take(_ letter: String, _ value: String) throws(OpenError) {
        switch letter {
        case "t":
            guard let mode = CacheMode(word: value) else { throw OpenError("Invalid cache option: \(value)") }
            cache = mode
        case "d":
            guard ["ignore", "off", "unmap", "on"].contains(value) else {
                throw OpenError("Invalid discard option: \(value)")
            }
            discards = value == "unmap" || value == "on"
        default:
            guard let mode = FileDriverOptions.AIO(rawValue: value) else {
                throw OpenError("Invalid aio option: \(value)")
            }
            aio = mode
        }
    }
}

extension ImageDetails {
    /// Whether the node is of a format, and not of a protocol or a filter that stands for one.
    fileprivate var isFormat: Bool { format == "raw" || format == "qcow2" }

    /// Where the state of a machine would be saved: behind all that the tables of the disk reach, in bytes of the disk.
    fileprivate var machineStateOffset: UInt64 {
        guard let qcow2, let clusterSize, clusterSize >= 8 else { return 0 }
        // Of 8 bytes each, or of 16.
        let reach = clusterSize.multipliedReportingOverflow(by: clusterSize / (qcow2.hasExtendedL2 ? 16 : 8))
        guard !reach.overflow, reach.partialValue > 0 else { return 0 }
        let tables = virtualSize / reach.partialValue + (virtualSize % reach.partialValue == 0 ? 0 : 1)
        let (offset, overflow) = tables.multipliedReportingOverflow(by: reach.partialValue)
        return overflow ? 0 : offset
    }
}
