import Block

// The options of a command, and what stands behind them.
extension IOCommand {
    /// Takes the options from a command's words, as `getopt` does, and answers the others.
    mutating func take(_ words: ArraySlice<String>, _ line: Line) throws(Mistake) -> [String] {
        let form = line.form
        guard !form.letters.isEmpty else { return Array(words) }
        var operands: [String] = []
        var rest = words
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word.count > 1 else {
                operands.append(word)
                continue
            }
            if word == "--" {
                operands += rest
                break
            }
            var letters = word.dropFirst()
            while let letter = letters.popFirst() {
                guard letter != ":", let index = form.letters.firstIndex(of: letter) else {
                    throw Mistake(form.usage(), complaint: "\(line.called): invalid option -- '\(letter)'\n")
                }
                guard form.letters[form.letters.index(after: index)...].first == ":" else {
                    set(letter)
                    continue
                }
                guard let value = letters.isEmpty ? rest.popFirst() : String(letters) else {
                    throw Mistake(
                        form.usage(), complaint: "\(line.called): option requires an argument -- '\(letter)'\n")
                }
                try set(letter, value)
                break
            }
        }
        return operands
    }

    private mutating func set(_ letter: Character) {
        guard operation != .open, operation != .reopen else {
            options.given.append(GivenOption(letter: letter, value: ""))
            return
        }
        switch letter {
        case "b": options.isVMState = true
        case "c": options.isCompressed = true
        case "C": options.isTerse = true
        case "f": options.isForced = true
        case "i": options.isInvalid = true
        case "n": options.isFastOnly = true
        case "q": options.isQuiet = true
        case "u": options.mayUnmap = true
        case "v": options.isVerbose = true
        case "z": options.isZero = true
        // `-p` is of older days.
        default: break
        }
    }

    private mutating func set(_ letter: Character, _ value: String) throws(Mistake) {
        guard operation != .open, operation != .reopen else {
            options.given.append(GivenOption(letter: letter, value: value))
            return
        }
        switch letter {
        case "s" where operation == .write: options.patternFile = value
        case "s": options.patternOffset = try Self.number(value)
        case "l": options.patternCount = try Self.number(value)
        case "m":
            guard let mode = Preallocation(rawValue: value) else {
                throw Mistake("", complaint: "Invalid preallocation mode '\(value)'")
            }
            options.preallocation = mode
        default:
            guard let number = Self.integer(value), let byte = UInt8(exactly: number) else {
                throw Mistake("\(value) is not a valid pattern byte\n")
            }
            options.pattern = byte
        }
    }

    /// As C reads a number: decimal, `0x` or a leading 0.
    static func integer(_ text: String) -> Int64? {
        let isNegative = text.hasPrefix("-")
        let digits = isNegative ? text.dropFirst() : text[...]
        let radix = digits.lowercased().hasPrefix("0x") ? 16 : digits.hasPrefix("0") ? 8 : 10
        let bare = radix == 16 ? digits.dropFirst(2) : digits
        guard let first = bare.first, first != "-", first != "+", let value = Int64(bare, radix: radix) else {
            return nil
        }
        return isNegative ? -value : value
    }

    // MARK: Operands

    mutating func take(_ operands: [String], _ form: Form) throws(Mistake) {
        switch operation {
        case .read, .write, .discard:
            let isVector = form.most == .max && form.takes.hasSuffix("[len..]")
            guard isVector ? operands.count >= 2 : operands.count == 2 else { throw Mistake(form.usage()) }
            try checkLetters()
            offset = try Self.number(operands[0])
            try takeCounts(operands.dropFirst(), isVector: isVector)
            try checkRange(form)
        case .truncate:
            // What stands behind the length is not looked at.
            guard let length = operands.first else { throw Mistake(form.usage()) }
            offset = try Self.number(length)
        case .alloc:
            offset = try Self.number(operands[0])
            count = operands.count > 1 ? try Self.number(operands[1]) : 512
        case .reopen where !operands.isEmpty: throw Mistake(form.usage())
        case .open where operands.count > 1: throw Mistake(form.usage())
        case .sleep:
            guard let value = Self.integer(operands[0]), value >= 0 else {
                throw Mistake("\(operands[0]) is not a valid number\n")
            }
            count = UInt64(value)
        case .sigraise:
            count = try Self.number(operands[0])
            // Signals are numbered up to 64.
            guard count <= 64 else {
                throw Mistake("signal argument '\(operands[0])' is too large to be a valid signal\n")
            }
        default: words = operands
        }
        if operation == .open { words = operands }
    }

    /// What cannot be asked for together, in the tool's order.
    private func checkLetters() throws(Mistake) {
        guard operation == .write else { return }
        if options.isVMState, options.isZero { throw Mistake("-b and -z cannot be specified at the same time\n") }
        if options.isForced, options.isVMState || options.isCompressed {
            throw Mistake("-f and -b or -c cannot be specified at the same time\n")
        }
        if options.isFastOnly, !options.isZero { throw Mistake("-n requires -z to be specified\n") }
        if options.mayUnmap, !options.isZero { throw Mistake("-u requires -z to be specified\n") }
        let sources = (options.isZero ? 1 : 0) + (options.pattern != nil ? 1 : 0) + (options.patternFile != nil ? 1 : 0)
        if sources > 1, !isAsynchronous {
            throw Mistake("Only one of -z, -P, and -s can be specified at the same time\n")
        }
    }

    /// Several buffers are one request.
    private mutating func takeCounts(_ operands: ArraySlice<String>, isVector: Bool) throws(Mistake) {
        if isAsynchronous, options.isZero, operands.count > 1 {
            throw Mistake("-z supports only a single length parameter\n")
        }
        for operand in operands {
            let part = try Self.number(operand)
            if part > Self.longest, isVector {
                throw Mistake("Argument '\(operand)' exceeds maximum size \(Self.longest)\n")
            }
            if part > Self.longest, !options.isFastOnly {
                let without = operation == .write ? " without -n" : ""
                throw Mistake("length cannot exceed \(Self.longest)\(without), given \(operand)\n")
            }
            // Each is below 2^63, so that the sum of what fits and one more does not wrap around.
            count += part
            if isVector, count > Self.longest {
                throw Mistake("The total number of bytes exceed the maximum size \(Self.longest)\n")
            }
        }
    }

    private func checkRange(_ form: Form) throws(Mistake) {
        if operation == .read {
            let isPart = options.patternOffset > 0 || options.patternCount != nil
            if options.pattern == nil, isPart { throw Mistake(form.usage()) }
            let end = options.patternOffset.addingReportingOverflow(options.patternCount ?? 0)
            if isPart, end.overflow || end.partialValue > count {
                throw Mistake("pattern verification range exceeds end of read data\n")
            }
        }
        guard options.isVMState || (options.isCompressed && !options.isZero) else { return }
        // A sector has 512 bytes.
        if offset % 512 != 0 { throw Mistake("\(offset) is not a sector-aligned value for 'offset'\n") }
        if count % 512 != 0 { throw Mistake("\(count) is not a sector-aligned value for 'count'\n") }
    }
}
