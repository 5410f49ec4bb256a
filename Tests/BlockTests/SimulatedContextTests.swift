import Block
import BlockTestKit
import Testing

@Suite struct SimulatedContextTests {
    /// Runs a few tasks that take turns and answers the order they ran in.
    private func trace(seed: UInt64, order: SimulatedContext.Order) throws -> [Int] {
        let context = SimulatedContext(seed: seed, order: order)
        let trace = Trace()
        return try context.complete {
            for number in 0..<6 {
                context.spawn {
                    for _ in 0..<4 {
                        trace.steps.append(number)
                        await context.yield()
                    }
                    trace.ended += 1
                }
            }
            while trace.ended < 6 { await context.sleep(ms: 1) }
            return trace.steps
        }
    }

    private final class Trace {
        var steps: [Int] = []
        var ended = 0
    }

    @Test("the same seed gives the same schedule, another seed another")
    func reproducible() throws {
        let first = try trace(seed: 1, order: .seeded)
        #expect(try trace(seed: 1, order: .seeded) == first)
        #expect(try trace(seed: 2, order: .seeded) != first)
        #expect(first.count == 24)
    }

    @Test("in order of arrival, tasks take turns")
    func fifo() throws {
        #expect(try Array(trace(seed: 9, order: .fifo).prefix(6)) == [0, 1, 2, 3, 4, 5])
    }

    @Test("the clock jumps to the next timer, and cancelled timers stay silent")
    func clock() throws {
        let context = SimulatedContext()
        let trace = Trace()
        let cancelled = context.schedule(afterMs: 10) { trace.steps.append(10) }
        _ = context.schedule(afterMs: 30) { trace.steps.append(30) }
        _ = context.schedule(afterMs: 20) { trace.steps.append(20) }
        _ = context.schedule(afterMs: 20) { trace.steps.append(21) }
        context.cancel(cancelled)
        try context.advance(ns: 25_000_000)
        #expect(trace.steps == [20, 21])
        try context.runToIdle()
        #expect(trace.steps == [20, 21, 30])
        #expect(context.nowNs == 30_000_000)
    }

    @Test("a failure of the body reaches the test")
    func failure() {
        #expect(throws: BlockError.noSpace) {
            try SimulatedContext().complete { throw BlockError.noSpace }
        }
    }
}
