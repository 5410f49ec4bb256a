public import Block

/// The groups of limits there are, by name. Whoever uses a group holds it; one that nobody holds is gone.
public final class ThrottleGroupSet {
    private struct Entry { weak var group: ThrottleGroup? }

    private let context: any IOContext
    private var entries: [String: Entry] = [:]

    public init(context: any IOContext) { self.context = context }

    /// The group of this name, or nil.
    public func group(_ name: String) -> ThrottleGroup? { entries[name]?.group }

    /// The group of this name; where there is none, one without limits.
    public func makeGroup(_ name: String) -> ThrottleGroup {
        if let known = group(name) { return known }
        entries = entries.filter { $0.value.group != nil }
        let made = ThrottleGroup(name, ThrottleLimits(), on: context)
        entries[name] = Entry(group: made)
        return made
    }
}
