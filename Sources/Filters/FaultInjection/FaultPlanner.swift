public import Bytes

/// The rules of one fault filter, and how far they have come. It outlives the filter objects that a change of the graph
/// makes anew.
public final class FaultPlanner {
    private let errors: [FaultRule]
    private let transitions: [StateRule]
    /// Starts at 1, as in QEMU: 0 in a rule means any state.
    public private(set) var state = 1
    /// The rules that hold now.
    private var active: [FaultRule]
    /// How many requests a rule was applied to.
    public private(set) var fired = 0

    public init(errors: [FaultRule], transitions: [StateRule] = []) {
        self.errors = errors
        self.transitions = transitions
        active = errors.filter { $0.event == .none }
    }

    /// Something happened: rules for it come to hold, and the state may change.
    public func note(_ event: FaultEvent) {
        let before = state
        for rule in errors where rule.event == event && (rule.state == 0 || rule.state == before) {
            if !active.contains(rule) { active.append(rule) }
        }
        for rule in transitions where rule.event == event && (rule.state == 0 || rule.state == before) {
            state = rule.newState
        }
    }

    /// The rule for a request, if one holds. A rule that is for one request ends here.
    public func rule(for kind: FaultKinds, _ range: ByteRange?) -> FaultRule? {
        let index = active.firstIndex { rule in
            guard rule.kinds.contains(kind) else { return false }
            guard let sector = rule.sector else { return true }
            guard let range, let first = ByteRange(checked: sector &* 512, count: 512), sector < 1 << 55 else {
                return false
            }
            return range.overlaps(first)
        }
        guard let index else { return nil }
        let rule = active[index]
        if rule.once { active.remove(at: index) }
        fired += 1
        return rule
    }
}
