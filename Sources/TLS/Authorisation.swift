/// Who may come in, by name: rules in order, the first that is for somebody decides (`authz-list`, `authz-simple`).
public struct Authorisation: Sendable {
    public struct Rule: Sendable {
        let match: String
        let isPattern: Bool
        let isAllowed: Bool

        /// `isPattern`: `*` in `match` stands for any characters, `?` for one.
        public init(_ match: String, isPattern: Bool = false, isAllowed: Bool) {
            self.match = match
            self.isPattern = isPattern
            self.isAllowed = isAllowed
        }
    }

    let rules: [Rule]
    let allowsOthers: Bool

    public init(_ rules: [Rule], allowsOthers: Bool) {
        self.rules = rules
        self.allowsOthers = allowsOthers
    }

    public func allows(_ identity: String) -> Bool {
        let rule = rules.first {
            $0.isPattern ? Self.matches(Array(identity.utf8), Array($0.match.utf8)) : $0.match == identity
        }
        return rule?.isAllowed ?? allowsOthers
    }

    /// Tries what a star stands for from the shortest on; only the last star is ever tried again, so that no name takes long.
    private static func matches(_ text: [UInt8], _ pattern: [UInt8]) -> Bool {
        var (at, place) = (0, 0)
        var star: (at: Int, place: Int)?
        while at < text.count {
            if place < pattern.count, pattern[place] == UInt8(ascii: "*") {
                place += 1
                star = (at, place)
            } else if place < pattern.count, pattern[place] == UInt8(ascii: "?") || pattern[place] == text[at] {
                at += 1
                place += 1
            } else if let last = star {
                star = (last.at + 1, last.place)
                (at, place) = (last.at + 1, last.place)
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == UInt8(ascii: "*") }
    }
}
