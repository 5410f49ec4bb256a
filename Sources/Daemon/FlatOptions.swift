import QMPTypes

/// Options in the older syntax of QEMU's programs, as `--chardev` has it: names and texts, each taken once; of equal names
/// the last counts, and a doubled comma stands for one. A bare `NAME` means `NAME=on` and `noNAME` means `NAME=off`.
struct FlatOptions {
    private var texts: [(name: String, text: String)] = []
    /// What a person should be told: short forms are deprecated.
    private(set) var warnings: [String] = []

    /// `implied` is the name of a first part without `=`.
    init(_ text: String, implied: String) {
        var rest = Substring(text).unicodeScalars
        var isFirst = true
        while !rest.isEmpty {
            let part = Self.part(&rest)
            defer { isFirst = false }
            if let equals = part.firstIndex(of: "=") {
                texts.append((String(part[..<equals]), String(part[part.index(after: equals)...])))
            } else if isFirst {
                texts.append((implied, part))
            } else {
                let isOff = part.hasPrefix("no") && part.count > 2
                let (name, value) = isOff ? (String(part.dropFirst(2)), "off") : (part, "on")
                texts.append((name, value))
                warnings.append("short-form boolean option '\(part)' deprecated; please use \(name)=\(value) instead")
            }
        }
    }

    /// Takes everything up to the next single comma, and that comma.
    private static func part(_ rest: inout Substring.UnicodeScalarView) -> String {
        var part = String.UnicodeScalarView()
        while let scalar = rest.popFirst() {
            if scalar == "," {
                guard rest.first == "," else { break }
                rest.removeFirst()
            }
            part.append(scalar)
        }
        return String(part)
    }

    mutating func take(_ name: String) -> String? {
        defer { texts.removeAll { $0.name == name } }
        return texts.last { $0.name == name }?.text
    }

    mutating func takeBool(_ name: String) throws(QMPError) -> Bool? {
        switch take(name) {
        case nil: return nil
        case "on": return true
        case "off": return false
        default: throw QMPError("Parameter '\(name)' expects 'on' or 'off'")
        }
    }

    /// Refuses what was not taken.
    func finish() throws(QMPError) {
        if let left = texts.first { throw QMPError("Invalid parameter '\(left.name)'") }
    }
}
