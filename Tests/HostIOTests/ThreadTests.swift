import Block
import BlockTestKit
import HostTestKit
import Synchronization
import Testing

@testable import HostIO

@Suite("The I/O thread")
struct ThreadTests {
    @Test("work from outside runs on the thread and answers", arguments: engines)
    func entry(engine: IOThread.EngineChoice) async {
        let thread = IOThread(engine: engine)
        thread.start()
        #expect(!thread.isCurrent)
        #expect(await thread.run { thread.isCurrent })
        #expect(await thread.run { 41 + 1 } == 42)
        thread.stop()
    }

    @Test("a thread that sleeps is woken by each of many other threads", arguments: engines)
    func wakeUps(engine: IOThread.EngineChoice) async {
        let thread = IOThread(engine: engine)
        thread.start()
        let sum = await withTaskGroup(of: Int.self) { group in
            for number in 0..<1000 {
                group.addTask {
                    await thread.run {
                        if number % 10 == 0 { await thread.sleep(ms: 1) }
                        return number
                    }
                }
            }
            return await group.reduce(0, +)
        }
        #expect(sum == 499_500)
        thread.stop()
    }

    @Test("a thread that looks before it sleeps hears others, fires timers and sleeps in the end", arguments: engines)
    func polls(engine: IOThread.EngineChoice) async {
        let thread = IOThread(engine: engine)
        thread.start()
        await thread.run { thread.pollMaxNs = 50_000_000 }
        for number in 0..<200 { #expect(await thread.run { number } == number) }
        let sleeps = await thread.run {
            for _ in 0..<5 { await thread.sleep(ms: 2) }
            let before = thread.waits
            // Longer than it ever looks.
            await thread.sleep(ms: 100)
            return thread.waits - before
        }
        #expect(sleeps > 0)
        thread.stop()
    }

    @Test("a thread looks for longer where work comes soon after, and not at all where it does not")
    func pollingAdapts() {
        var polling = Polling()
        polling.note(idleNs: 1)
        #expect(polling.spanNs == 0)
        polling.maxNs = 50_000
        polling.note(idleNs: 30_000)
        #expect(polling.spanNs == Polling.firstNs)
        for _ in 0..<10 { polling.note(idleNs: 40_000) }
        #expect(polling.spanNs == 50_000)
        polling.note(idleNs: 10_000)
        #expect(polling.spanNs == 50_000)
        polling.note(idleNs: 50_001)
        #expect(polling.spanNs == 0)
        polling.note(idleNs: 40_000)
        polling.maxNs = 1000
        #expect(polling.spanNs == 1000)
    }

    @Test("a timer for after the end of time is one that does not fire", arguments: engines)
    func endOfTime(engine: IOThread.EngineChoice) async {
        let thread = IOThread(engine: engine)
        thread.start()
        let fired = await thread.run {
            let fired = Mark()
            for afterMs in [.max, .max / 1_000_000, .max / 1_000_000 - 1, 1 << 63] as [UInt64] {
                thread.cancel(thread.schedule(afterMs: afterMs) { fired.isSet = true })
                _ = thread.schedule(afterMs: afterMs) { fired.isSet = true }
            }
            await thread.sleep(ms: 2)
            return fired.isSet
        }
        #expect(!fired)
        thread.stop()
    }

    @Test("a task that waits below several layers becomes ready once for each wait", arguments: engines)
    func enqueues(engine: IOThread.EngineChoice) async throws {
        let budget = try Budgets.number("enqueues per hundred suspensions")
        let thread = IOThread(engine: engine)
        thread.start()
        let rounds: UInt64 = 500
        let made = await thread.run {
            let (one, other) = (Parking(), Parking())
            var isOver = false
            thread.spawn {
                while !isOver {
                    other.wake()
                    await Layer.wait(on: one, depth: 5)
                }
            }
            let before = thread.enqueues
            for _ in 0..<rounds {
                await Layer.wait(on: other, depth: 5)
                one.wake()
            }
            isOver = true
            return thread.enqueues - before
        }
        // Two tasks wait in each round.
        #expect(made > 0)
        #expect(made <= 2 * rounds * budget / 100 + 2)
        thread.stop()
    }

    /// Calls through layers, as a request goes through nodes.
    private enum Layer {
        static func wait(on parking: Parking, depth: Int) async {
            if depth == 0 { await parking.park() } else { await wait(on: parking, depth: depth - 1) }
        }
    }

    private final class Mark { var isSet = false }

    @Test("a task that yields lets those that are ready and the timers that are due go first", arguments: engines)
    func yields(engine: IOThread.EngineChoice) async {
        let thread = IOThread(engine: engine)
        thread.start()
        let seen = await thread.run {
            let others = Mark()
            thread.spawn { others.isSet = true }
            await thread.yield()
            return others.isSet
        }
        #expect(seen)
        thread.stop()
    }

    @Test("a caller of another thread is blocked until its call has run", arguments: engines)
    func block(engine: IOThread.EngineChoice) {
        let thread = IOThread(engine: engine)
        thread.start()
        let answer = thread.block {
            await thread.sleep(ms: 1)
            return thread.isCurrent ? 7 : 0
        }
        #expect(answer == 7)
        thread.stop()
    }

    @Test("tasks of the thread run one at a time, in the order they were started", arguments: engines)
    func order(engine: IOThread.EngineChoice) async throws {
        let order = try await onThread(engine) { thread in
            let seen = Shared<[Int]>([])
            for number in 0..<1000 {
                thread.spawn {
                    seen.value.append(thread.isCurrent ? number : -1)
                    await thread.sleep(ms: 0)
                    seen.value.append(number)
                }
            }
            _ = await thread.waits { seen.value.count == 2000 }
            return seen.value
        }
        #expect(order == Array(0..<1000) + Array(0..<1000))
    }

    @Test("timers fire once each, in the order of their times, and never early", arguments: engines)
    func timers(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let fired = Shared<[UInt64]>([])
            var early = 0
            for number in 0..<200 as Range<UInt64> {
                let delay = (number * 7) % 13
                let due = thread.nowNs + delay * 1_000_000
                _ = thread.schedule(afterMs: delay) {
                    if thread.nowNs < due { early += 1 }
                    fired.value.append(due)
                }
            }
            #expect(await thread.waits { fired.value.count >= 200 })
            await thread.sleep(ms: 20)
            #expect(early == 0)
            #expect(fired.value.count == 200)
            // The thread reads the clock after the test did, so only times that lie apart have an order.
            for (one, next) in zip(fired.value, fired.value.dropFirst()) { #expect(one < next + 1_000_000) }
        }
    }

    @Test("a cancelled timer does not fire, and cancelling one that has fired harms nothing", arguments: engines)
    func cancel(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let fired = Shared<[Int]>([])
            let timers = (0..<300).map { number in thread.schedule(afterMs: 5) { fired.value.append(number) } }
            for (number, timer) in timers.enumerated() where number % 3 != 0 { thread.cancel(timer) }
            await thread.sleep(ms: 10)
            for timer in timers { thread.cancel(timer) }
            await thread.sleep(ms: 1)
            #expect(fired.value == Array(stride(from: 0, to: 300, by: 3)))
        }
    }

    @Test("a timer may cancel another that is due with it, and may set one more", arguments: engines)
    func timersOfTimers(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let fired = Shared<[String]>([])
            let other = Shared<TimerID?>(nil)
            _ = thread.schedule(afterMs: 0) {
                fired.value.append("first")
                if let timer = other.value { thread.cancel(timer) }
                _ = thread.schedule(afterMs: 0) { fired.value.append("third") }
            }
            other.value = thread.schedule(afterMs: 0) { fired.value.append("second") }
            await thread.sleep(ms: 5)
            #expect(fired.value == ["first", "third"])
        }
    }

    @Test("tasks that never wait keep neither timers nor other threads from their turn", arguments: engines)
    func fairness(engine: IOThread.EngineChoice) async throws {
        let (fired, entered) = try await onThread(engine) { thread in
            let fired = Shared(false)
            let entered = Flag()
            _ = thread.schedule(afterMs: 1) { fired.value = true }
            let isUnderWay = Flag()
            Task.detached {
                isUnderWay.raise()
                await thread.run { entered.raise() }
            }
            // The other tests may keep the pool from it for long.
            while !isUnderWay.isRaised { await thread.sleep(ms: 1) }
            let end = thread.nowNs + 10_000_000_000
            while !(fired.value && entered.isRaised), thread.nowNs < end { await Task.yield() }
            return (fired.value, entered.isRaised)
        }
        #expect(fired)
        #expect(entered)
    }

    @Test("a blocking call runs elsewhere while the thread goes on", arguments: engines)
    func offload(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let gate = Flag()
            // The call ends only because the thread runs the timer meanwhile.
            _ = thread.schedule(afterMs: 1) { gate.raise() }
            let answer = await thread.offload {
                while !gate.isRaised { usleepShortly() }
                return thread.isCurrent ? 1 : 2
            }
            #expect(answer == 2)
        }
    }

    @Test("blocking calls that wait for each other all run, as many as the pool has threads", arguments: engines)
    func pool(engine: IOThread.EngineChoice) async throws {
        let thread = IOThread(engine: engine, poolSize: 5)
        try await run(on: thread) { thread in
            let present = Counter()
            let done = Shared(0)
            for _ in 0..<5 {
                thread.spawn {
                    let all = await thread.offload {
                        present.add()
                        while present.count < 5 { usleepShortly() }
                        return 1
                    }
                    done.value += Int(all)
                }
            }
            #expect(await thread.waits { done.value == 5 })
        }
    }

    @Test("a blocking call that the host has no thread for is made all the same")
    func noWorkers() async throws {
        try await run(on: IOThread(on: PollEngine(), poolSize: 0)) { thread in
            #expect(await thread.offload { 7 } == 7)
        }
    }

    @Test("the queue of timers gives them out by time, then by age, whatever is removed between")
    func queue() {
        var random = SeededRandom(seed: 11)
        for _ in 0..<50 {
            var queue = TimerQueue()
            let taken = Shared<[Int]>([])
            var wanted: [(at: UInt64, number: Int)] = []
            var ids: [TimerID] = []
            for number in 0..<Int(random.below(60)) {
                let at: UInt64 = random.below(10)
                ids.append(TimerID(number: UInt64(number)))
                queue.add(ids[number], at: at) { taken.value.append(number) }
                wanted.append((at, number))
            }
            var gone: Set<Int> = []
            for number in ids.indices where random.chance(30) {
                queue.remove(ids[number])
                gone.insert(number)
            }
            for now in 0..<10 as Range<UInt64> {
                while let body = queue.takeDue(at: now) {
                    body()
                    #expect(taken.value.last.map { wanted[$0].at <= now } == true)
                }
            }
            #expect(queue.nextNs == nil)
            let kept = wanted.filter { !gone.contains($0.number) }.sorted { $0 < $1 }
            #expect(taken.value == kept.map(\.number))
        }
    }

    @Test("an operation's late second completion finds nobody, though its slot is in use again")
    func lateCompletion() async throws {
        try await onThread(.threads) { thread in
            var table = OperationTable()
            var ids: [UInt64] = []
            let answers = Shared<[Int32]>([])
            let first = Shared<Suspension<Int32>?>(nil)
            thread.spawn { answers.value.append(await suspend { first.value = $0 }) }
            let second = Shared<Suspension<Int32>?>(nil)
            thread.spawn { answers.value.append(await suspend { second.value = $0 }) }
            await thread.sleep(ms: 0)
            ids.append(table.add(try #require(first.value)))
            table.take(ids[0])?.resume(1)
            ids.append(table.add(try #require(second.value)))
            #expect(ids[0] != ids[1])
            #expect(table.take(ids[0]) == nil)
            #expect(table.count == 1)
            table.take(ids[1])?.resume(2)
            #expect(table.count == 0)
            await thread.sleep(ms: 0)
            #expect(answers.value == [1, 2])
        }
    }
}

/// A flag that threads share.
final class Flag: Sendable {
    private let state = Atomic<Bool>(false)
    var isRaised: Bool { state.load(ordering: .acquiring) }
    func raise() { state.store(true, ordering: .releasing) }
}

/// A count that threads share.
final class Counter: Sendable {
    private let state = Atomic<Int>(0)
    var count: Int { state.load(ordering: .acquiring) }
    func add() { state.add(1, ordering: .acquiringAndReleasing) }
}
