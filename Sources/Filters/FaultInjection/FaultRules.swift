public import Block

/// The rules of one fault filter.
public struct FaultRules: Equatable, Sendable {
    public var errors: [FaultRule]
    public var transitions: [StateRule]

    public init(errors: [FaultRule] = [], transitions: [StateRule] = []) {
        self.errors = errors
        self.transitions = transitions
    }

    public static func + (a: FaultRules, b: FaultRules) -> FaultRules {
        FaultRules(errors: a.errors + b.errors, transitions: a.transitions + b.transitions)
    }

    /// Bytes of the longest file of rules: thousands of them.
    public static let longestFile = 1 << 20

    /// Reads a file of rules as `blkdebug` of QEMU has it: groups `[inject-error]` and `[set-state]`, in each lines of
    /// `key = "value"`; `#` begins a comment. The texts are QEMU's.
    public init(file bytes: [UInt8]) throws(OpenError) {
        self.init()
        var group: Group?
        for line in bytes.split(separator: 0x0A) {
            let text = String(decoding: line, as: UTF8.self).trimmingSpaces
            if text.isEmpty || text.hasPrefix("#") { continue }
            if text.hasPrefix("["), text.hasSuffix("]") {
                if let group { try add(group) }
                group = try Group(String(text.dropFirst().dropLast()))
                continue
            }
            guard group != nil else { throw OpenError("no group defined") }
            try group?.set(text)
        }
        if let group { try add(group) }
    }

    private mutating func add(_ group: Group) throws(OpenError) {
        guard let name = group.values["event"] else { throw OpenError("Missing event name for rule") }
        guard let event = FaultEvent(rawValue: name) else { throw OpenError("invalid parameter value: \(name)") }
        let state = Int(try group.number("state") ?? 0)
        if group.isTransition {
            let next = Int(try group.number("new_state") ?? 0)
            transitions.append(StateRule(event: event, state: state, newState: next))
            return
        }
        var rule = FaultRule(event: event, state: state)
        if let kind = group.values["iotype"] {
            guard let kinds = FaultKinds(name: kind) else { throw OpenError("invalid parameter value: \(kind)") }
            rule.kinds = kinds
        }
        if let errno = try group.number("errno") { rule.errno = Int32(clamping: errno) }
        if let sector = try group.number("sector"), sector != -1 { rule.sector = UInt64(clamping: sector) }
        rule.once = try group.flag("once")
        rule.immediately = try group.flag("immediately")
        errors.append(rule)
    }

    /// One group of the file, with its values as they are written.
    private struct Group {
        let isTransition: Bool
        private(set) var values: [String: String] = [:]

        init(_ name: String) throws(OpenError) {
            switch name {
            case "inject-error": isTransition = false
            case "set-state": isTransition = true
            default: throw OpenError("There is no option group '\(name)'")
            }
        }

        private var keys: Set<String> {
            isTransition
                ? ["event", "state", "new_state"]
                : ["event", "state", "iotype", "errno", "sector", "once", "immediately"]
        }

        /// Takes a line `key = "value"`. The key ends at a space, as in QEMU; behind the value the line is not looked at.
        mutating func set(_ line: String) throws(OpenError) {
            let key = String(line.prefix { $0 != " " && $0 != "\t" })
            guard keys.contains(key) else { throw OpenError("Invalid parameter '\(key)'") }
            let rest = String(line.dropFirst(key.count)).trimmingSpaces
            guard rest.hasPrefix("=") else { throw OpenError("parse error") }
            let quoted = String(rest.dropFirst()).trimmingSpaces
            guard quoted.hasPrefix("\""), let end = quoted.dropFirst().firstIndex(of: "\""),
                end > quoted.index(after: quoted.startIndex)
            else { throw OpenError("parse error") }
            values[key] = String(quoted[quoted.index(after: quoted.startIndex)..<end])
        }

        func number(_ key: String) throws(OpenError) -> Int64? {
            guard let text = values[key] else { return nil }
            guard let value = Int64(text) else { throw OpenError("Parameter '\(key)' expects a number") }
            return value
        }

        func flag(_ key: String) throws(OpenError) -> Bool {
            switch values[key] {
            case nil, "off": return false
            case "on": return true
            default: throw OpenError("Parameter '\(key)' expects 'on' or 'off'")
            }
        }
    }
}

extension String {
    fileprivate var trimmingSpaces: String {
        let isSpace = { (character: Character) in character == " " || character == "\t" || character == "\r" }
        let front = drop(while: isSpace)
        return String(front.reversed().drop(while: isSpace).reversed())
    }
}
