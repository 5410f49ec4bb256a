// The forms of the commands, and their options.
extension IOCommand {
    /// How a command is called.
    struct Form {
        let operation: Operation
        let name: String
        /// Letters, each followed by a colon where it takes a value.
        let letters: String
        let least: Int
        let most: Int
        let usage: String

        func miscounted(_ count: Int, _ called: String) -> String {
            let expected = most == least && least < 2 ? "exactly \(least)" : "at least \(least)"
            return "bad argument count \(count) to \(called), expected \(expected) arguments\n"
        }
    }

    static func form(of called: String) -> Form? {
        switch called {
        case "read", "r":
            Form(
                operation: .read, name: "read", letters: "CqvP:s:l:", least: 2, most: 2,
                usage:
                    "read [-Cqv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a specified offset"
            )
        case "readv", "rv", "aio_read":
            Form(
                operation: .read, name: "readv", letters: "CqvP:", least: 2, most: .max,
                usage: "\(called) [-Cqv] [-P pattern] off len [len..] -- reads a number of bytes at a specified offset")
        case "write", "w":
            Form(
                operation: .write, name: "write", letters: "CfnqzuP:", least: 2, most: 2,
                usage: "write [-Cfnquz] [-P pattern] off len -- writes a number of bytes at a specified offset")
        case "writev", "wv", "aio_write":
            Form(
                operation: .write, name: "writev", letters: called == "aio_write" ? "CfqzuP:" : "CfqP:", least: 2,
                most: .max,
                usage: "\(called) [-Cfq] [-P pattern] off len [len..] -- writes a number of bytes at a specified offset"
            )
        case "discard", "d":
            Form(
                operation: .discard, name: "discard", letters: "Cq", least: 2, most: 2,
                usage: "discard [-Cq] off len -- discards a number of bytes at a specified offset")
        case "flush", "f", "aio_flush":
            Form(
                operation: .flush, name: "flush", letters: "", least: 0, most: 0,
                usage: "\(called) -- flush all in-core file state to disk")
        case "length", "l":
            Form(
                operation: .length, name: "length", letters: "", least: 0, most: 0,
                usage: "length -- gets the length of the current file")
        case "truncate", "t":
            Form(
                operation: .truncate, name: "truncate", letters: "", least: 1, most: 1,
                usage: "truncate off -- truncates the current file at the given offset")
        default: nil
        }
    }

    /// Takes the options from a command's words, as `getopt` does, and answers the others.
    mutating func take(_ words: ArraySlice<String>, _ form: Form, _ called: String) throws(Mistake) -> [String] {
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
                    throw Mistake("\(called): invalid option -- '\(letter)'\n\(form.usage)\n")
                }
                guard form.letters[form.letters.index(after: index)...].first == ":" else {
                    set(letter)
                    continue
                }
                guard let value = letters.isEmpty ? rest.popFirst() : String(letters) else {
                    throw Mistake("\(called): option requires an argument -- '\(letter)'\n\(form.usage)\n")
                }
                try set(letter, value)
                break
            }
        }
        return operands
    }

    private mutating func set(_ letter: Character) {
        switch letter {
        case "C": options.isTerse = true
        case "f": options.isForced = true
        case "n": options.isFastOnly = true
        case "q": options.isQuiet = true
        case "u": options.mayUnmap = true
        case "v": options.isVerbose = true
        default: options.isZero = true
        }
    }

    private mutating func set(_ letter: Character, _ value: String) throws(Mistake) {
        switch letter {
        case "s": options.patternOffset = try Self.number(value)
        case "l": options.patternCount = try Self.number(value)
        default:
            guard let byte = Self.byte(value) else { throw Mistake("\(value) is not a valid pattern byte\n") }
            options.pattern = byte
        }
    }

    /// As C reads a number: decimal, `0x` or a leading 0.
    private static func byte(_ text: String) -> UInt8? {
        if text.hasPrefix("0x") || text.hasPrefix("0X") { return UInt8(text.dropFirst(2), radix: 16) }
        return text.hasPrefix("0") && text.count > 1 ? UInt8(text.dropFirst(), radix: 8) : UInt8(text)
    }
}
