/// Who may come in, by name: rules in order, the first that is for somebody decides (`authz-list`, `authz-simple`).
public struct Authorisation: Sendable {
    public struct Rule: Sendable {
        let match: String
        let isPattern: Bool
        let isAllowed: Bool

        /// `isPattern`: `*` in `match` stands for any scalars, `?` for one.
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
        // Scalar by scalar: to compare texts as people read them would hold two names for one.
        let name = Array(identity.unicodeScalars)
        let rule = rules.first {
            let match = Array($0.match.unicodeScalars)
            return $0.isPattern ? Self.matches(name, match) : match == name
        }
        return rule?.isAllowed ?? allowsOthers
    }

    /// Tries what a star stands for from the shortest on; only the last star is ever tried again, so that no name takes long.
    private static func matches(_ text: [Unicode.Scalar], _ pattern: [Unicode.Scalar]) -> Bool {
        var (at, place) = (0, 0)
        var star: (at: Int, place: Int)?
        while at < text.count {
            if place < pattern.count, pattern[place] == "*" {
                place += 1
                star = (at, place)
            } else if place < pattern.count, pattern[place] == "?" || pattern[place] == text[at] {
                at += 1
                place += 1
            } else if let last = star {
                star = (last.at + 1, last.place)
                (at, place) = (last.at + 1, last.place)
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == "*" }
    }
}
