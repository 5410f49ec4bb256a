public import Block
public import Bytes

/// The rules of one fault filter, and how far they have come. It outlives the filter objects that a change of the graph
/// makes anew.
public final class FaultPlanner {
    private var errors: [FaultRule]
    private let transitions: [StateRule]
    /// Starts at 1, as in QEMU: 0 in a rule means any state.
    public private(set) var state = 1
    /// The rules that hold now.
    private var active: [FaultRule]
    /// How many requests a rule was applied to.
    public private(set) var fired = 0
    /// Where whoever comes next is stopped, and who stands there.
    private var breakpoints: [(event: FaultEvent, tag: String)] = []
    private var stopped: [(tag: String, queue: WaitQueue)] = []

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
        if rule.once {
            active.remove(at: index)
            // Its event does not bring it back.
            if let spent = errors.firstIndex(of: rule) { errors.remove(at: spent) }
        }
        fired += 1
        return rule
    }

    // MARK: breakpoints

    /// Stops whoever comes to this event next, until the tag is resumed. Each breakpoint stops once.
    public func addBreakpoint(_ event: FaultEvent, tag: String) { breakpoints.append((event, tag)) }

    /// Takes the breakpoints of a tag away, and lets go on who stands at one. Answers whether there was any.
    @discardableResult
    public func removeBreakpoints(_ tag: String) -> Bool {
        let before = breakpoints.count
        breakpoints.removeAll { $0.tag == tag }
        let resumed = resume(tag)
        return resumed || breakpoints.count < before
    }

    /// Whether somebody stands at a breakpoint of this tag.
    public func isStopped(_ tag: String) -> Bool { stopped.contains { $0.tag == tag } }

    /// Lets go on who stands at breakpoints of this tag. Answers whether anybody did.
    @discardableResult
    public func resume(_ tag: String) -> Bool {
        let resumed = stopped.filter { $0.tag == tag }
        stopped.removeAll { $0.tag == tag }
        for one in resumed { one.queue.wakeAll() }
        return !resumed.isEmpty
    }

    /// Waits at the breakpoints of an event, one after the other.
    func stop(at event: FaultEvent) async {
        while let index = breakpoints.firstIndex(where: { $0.event == event }) {
            let queue = WaitQueue()
            stopped.append((breakpoints.remove(at: index).tag, queue))
            await queue.wait()
        }
    }
}
