public import Block
import Filters

// Breakpoints, for those who look at how a node behaves while a request stands still (`break`, `resume`, `wait_break` of
// qemu-io).
extension Graph {
    /// Stops the next request that `event` is for in the first fault filter at the node or below it. `onStop` is told in words
    /// of each request that stops there and goes on. Throws `unsupported` where there is no such filter.
    public func setBreakpoint(
        node: String, on event: FaultEvent, tag: String, onStop: @escaping (String) -> Void
    ) throws(BlockError) {
        let planner = try planner(below: node)
        planner.onStop = onStop
        planner.setBreakpoint(on: event, tag: tag)
    }

    /// Removes a breakpoint and lets all go on that stopped there. False where there is none that nobody had met.
    public func removeBreakpoint(node: String, tag: String) throws(BlockError) -> Bool {
        try planner(below: node).removeBreakpoint(tag)
    }

    /// Lets one request go on. False where none stands still there.
    public func resumeBreakpoint(node: String, tag: String) throws(BlockError) -> Bool {
        try planner(below: node).resume(tag)
    }

    /// Waits until a request stands still at the breakpoint.
    public func waitForBreakpoint(node: String, tag: String) async throws(BlockError) {
        try await planner(below: node).waitForStop(at: tag)
    }

    /// Removes all breakpoints of the node, and lets everybody go on.
    public func resumeBreakpoints(node: String) {
        do { try planner(below: node).resumeAll() } catch {
            // Without a fault filter nobody stands still.
        }
    }

    private func planner(below name: String) throws(BlockError) -> FaultPlanner {
        var next = value.find(name)
        while let id = next {
            if case .faults(let planner) = live[id]?.driver { return planner }
            next = value.nodes[id]?.base
        }
        throw .unsupported
    }
}
