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

    public init(errors: [FaultRule], transitions: [StateRule] = []) {
        self.errors = errors
        self.transitions = transitions
        active = errors.filter { $0.event == .none }
    }

    /// Where requests stop, in the order in which they were set.
    private var breakpoints: [(event: FaultEvent, tag: String)] = []
    /// Requests that stand still; the last that stopped comes first.
    private var stopped: [Stop] = []
    private let stops = WaitQueue()
    /// Told in words of each request that stops and goes on.
    public var onStop: ((String) -> Void)?

    /// A breakpoint that a request has met.
    private final class Stop {
        let tag: String
        let request: StoppedRequest
        init(_ tag: String, _ request: StoppedRequest) {
            self.tag = tag
            self.request = request
        }
    }

    /// A request that stands still, until it was resumed as often as it was stopped.
    private final class StoppedRequest {
        var count = 0
        let parking = Parking()
    }

    /// Something happened to a request: rules for it come to hold, the state may change, and where a breakpoint is the
    /// request stops.
    func meet(_ event: FaultEvent) async {
        note(event)
        guard breakpoints.contains(where: { $0.event == event }) else { return }
        let request = StoppedRequest()
        for point in breakpoints where point.event == event {
            onStop?("blkdebug: Suspended request '\(point.tag)'")
            stopped.insert(Stop(point.tag, request), at: 0)
            request.count += 1
        }
        breakpoints.removeAll { $0.event == event }
        stops.wakeAll()
        while request.count > 0 { await request.parking.park() }
    }

    // MARK: Breakpoints

    /// The next request that the event is for stops there, once.
    public func setBreakpoint(on event: FaultEvent, tag: String) { breakpoints.append((event, tag)) }

    /// Lets one request go on that stopped at this breakpoint. False where none did.
    public func resume(_ tag: String) -> Bool {
        guard let index = stopped.firstIndex(where: { $0.tag == tag }) else { return false }
        let request = stopped.remove(at: index).request
        onStop?("blkdebug: Resuming request '\(tag)'")
        request.count -= 1
        request.parking.wake()
        return true
    }

    /// Removes a breakpoint, and lets all go on that stopped there. False where there was none that nobody had met.
    public func removeBreakpoint(_ tag: String) -> Bool {
        let isSet = breakpoints.contains { $0.tag == tag }
        breakpoints.removeAll { $0.tag == tag }
        while resume(tag) {}
        return isSet
    }

    public func isStopped(at tag: String) -> Bool { stopped.contains { $0.tag == tag } }

    /// Waits until a request stands still at the breakpoint.
    public func waitForStop(at tag: String) async { while !isStopped(at: tag) { await stops.wait() } }

    /// Removes all breakpoints, and lets everybody go on: the node goes to rest.
    public func resumeAll() {
        breakpoints = []
        while let stop = stopped.first { _ = resume(stop.tag) }
    }

    // MARK: Rules

    /// Something happened: rules for it come to hold, and the state may change.
    func note(_ event: FaultEvent) {
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
}
