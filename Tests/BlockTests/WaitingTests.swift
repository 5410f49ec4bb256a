import Block
import BlockTestKit
import Bytes
import Testing

@Suite struct WaitingTests {
    private final class Log {
        var words: [String] = []
        var running = 0
        var most = 0
    }

    @Test("a lock lets one task in at a time, in order of arrival")
    func lock() throws {
        let context = SimulatedContext(seed: 1, order: .fifo)
        let (lock, log) = (AsyncLock(), Log())
        try context.complete {
            for number in 0..<5 {
                context.spawn {
                    await lock.lock()
                    log.running += 1
                    log.most = max(log.most, log.running)
                    await context.sleep(ms: 1)
                    log.words.append("\(number)")
                    log.running -= 1
                    lock.unlock()
                }
            }
        }
        try context.runToIdle()
        #expect(log.words == ["0", "1", "2", "3", "4"])
        #expect(log.most == 1)
    }

    @Test("ranges that overlap take turns, others do not wait", arguments: 0..<10 as Range<UInt64>)
    func rangeLock(seed: UInt64) throws {
        let context = SimulatedContext(seed: seed)
        let (lock, log) = (RangeLock(), Log())
        let ranges = [(0, 10), (5, 10), (20, 5), (14, 7), (0, 30)].map { ByteRange(at: $0.0, count: $0.1) }
        let held = Held()
        for range in ranges {
            context.spawn {
                await lock.lock(range)
                #expect(!held.ranges.contains { $0.overlaps(range) })
                held.ranges.append(range)
                log.most = max(log.most, held.ranges.count)
                await context.sleep(ms: 5)
                held.ranges.removeAll { $0 == range }
                log.running += 1
                lock.unlock(range)
            }
        }
        try context.runToIdle()
        #expect(log.running == 5)
        #expect(log.most >= 2)
    }

    private final class Held { var ranges: [ByteRange] = [] }

    @Test("those who shared a flush and come again at once share the next one too")
    func crowd() throws {
        let context = SimulatedContext(seed: 3, order: .fifo)
        let (queue, log) = (FlushQueue(context), Log())
        let (clients, rounds) = (8, 20)
        for _ in 0..<clients {
            context.spawn {
                for _ in 0..<rounds {
                    try? await queue.run { () async throws(BlockError) in
                        log.running += 1
                        await context.sleep(ms: 10)
                    }
                    // The answer goes out, and the next request comes in.
                    for _ in 0..<3 { await context.yield() }
                    log.most += 1
                }
            }
        }
        try context.runToIdle()
        #expect(log.most == clients * rounds)
        #expect(log.running <= rounds + 2, "not one for the first to come and one for all others")
    }

    @Test("who flushes alone waits for nobody; for a crowd that has gone one flush still waits")
    func alone() throws {
        let context = SimulatedContext(seed: 4, order: .fifo)
        let (queue, log) = (FlushQueue(context), Log())
        var crowd = 8
        for number in 0..<8 {
            context.spawn {
                await context.sleep(ms: number < 1 ? 0 : 1)
                try? await queue.run { () async throws(BlockError) in await context.sleep(ms: 10) }
                crowd -= 1
                guard crowd == 0 else { return }
                for _ in 0..<2 {
                    context.spawn { log.words.append("other") }
                    try? await queue.run { () async throws(BlockError) in log.words.append("flush") }
                    await context.sleep(ms: 1)
                }
            }
        }
        try context.runToIdle()
        #expect(log.words == ["other", "flush", "flush", "other"])
    }

    @Test("a flush that arrives while one runs shares the next, never the one under way")
    func flushes() throws {
        let context = SimulatedContext(seed: 2, order: .fifo)
        let (queue, log) = (FlushQueue(context), Log())
        for number in 0..<6 {
            context.spawn {
                await context.sleep(ms: number < 1 ? 0 : 5)
                let begun = log.running
                try? await queue.run { () async throws(BlockError) in
                    log.running += 1
                    await context.sleep(ms: 10)
                }
                #expect(log.running > begun, "a flush that began after the call has ended")
                log.words.append("\(number)")
            }
        }
        try context.runToIdle()
        #expect(log.words.count == 6)
        #expect(log.running == 2, "the five that came during the first share one")
    }

    @Test("the failure of a shared flush reaches all who share it, and later ones run again")
    func failures() throws {
        let context = SimulatedContext(seed: 3)
        let (queue, log) = (FlushQueue(context), Log())
        for _ in 0..<4 {
            context.spawn {
                do throws(BlockError) {
                    try await queue.run { () async throws(BlockError) in
                        await context.sleep(ms: 1)
                        throw .io
                    }
                } catch { log.words.append("\(error)") }
            }
        }
        try context.runToIdle()
        #expect(log.words == ["io", "io", "io", "io"])
        #expect(throws: Never.self) {
            try context.complete { try await queue.run { () async throws(BlockError) in log.running = 1 } }
        }
        #expect(log.running == 1)
    }
}
