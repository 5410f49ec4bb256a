/// What a simulated run found wrong.
public struct Violation: Error, CustomStringConvertible, Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        /// D1: a durable value is gone.
        case lost = "lost"
        /// D2: a value that nobody wrote there.
        case thirdValue = "third values"
        /// D3 to D5: an image that does not open, metadata that contradicts itself, an old state that changed.
        case corrupt = "corrupt"
        /// D7: a success after a failure, or one that hides it.
        case swallowed = "errors swallowed"
        /// O1 to O17: a write before another that must be durable first.
        case unordered = "out of order"
        /// A request failed that had no cause to, or the run did not end.
        case unexpected = "unexpected"
    }

    public let kind: Kind
    public let description: String
    /// What the machine found after the crash, where there was one.
    public let state: CrashState?
    /// What had begun of all that can be done to an image.
    public internal(set) var verbs: Set<Verb> = []

    public init(_ description: String, _ kind: Kind = .unexpected, in state: CrashState? = nil) {
        (self.kind, self.description, self.state) = (kind, description, state)
    }

    /// The same with more words around it.
    public func told(in state: CrashState? = nil, _ text: (String) -> String) -> Violation {
        var told = Violation(text(description), kind, in: self.state ?? state)
        told.verbs = verbs
        return told
    }

    /// The same of a program in which these had begun.
    public func with(_ verbs: Set<Verb>) -> Violation {
        var violation = self
        violation.verbs = verbs
        return violation
    }
}
