import Block
import BlockTestKit
import Bytes
import Glibc
import HostTestKit
import Synchronization
import Testing

@testable import HostIO

/// Threads beside the one that owns everything (docs/decisions/0009-io-threads.md).
@Suite("I/O threads that take turns")
struct PeerTests {
    @Test("two peers run at once", arguments: engines)
    func sideBySide(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let (inside, met, ended) = (Count(), Count(), Count())
            for peer in [try thread.takePeer(), try thread.takePeer()] {
                thread.spawn {
                    await thread.visit(peer.taskExecutor) {
                        let end = thread.nowNs + 60_000_000_000
                        // In its turn each waits a while for the other one's.
                        while met.value == 0, thread.nowNs < end {
                            inside.add(1)
                            let lookNs = thread.nowNs + 2_000_000
                            while thread.nowNs < lookNs, met.value == 0 { if inside.value == 2 { met.add(1) } }
                            inside.add(-1)
                            await thread.yield()
                        }
                    }
                    ended.add(1)
                }
            }
            while ended.value < 2 { await thread.sleep(ms: 5) }
            #expect(met.value > 0)
        }
    }

    @Test("no peer runs while the owner does", arguments: engines)
    func alone(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let (inside, ended) = (Count(), Count())
            for peer in [try thread.takePeer(), try thread.takePeer()] {
                thread.spawn {
                    await thread.visit(peer.taskExecutor) {
                        for _ in 0..<2000 {
                            inside.add(1)
                            inside.add(-1)
                            await thread.yield()
                        }
                    }
                    ended.add(1)
                }
            }
            var disturbed = 0
            while ended.value < 2 {
                for _ in 0..<50 where inside.value > 0 { disturbed += 1 }
                await thread.yield()
            }
            #expect(disturbed == 0)
        }
    }

    @Test("what a task waits for wakes it on the thread where it runs", arguments: engines)
    func stays(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let path = folder.path + "/file"
        try await onThread(engine) { thread in
            let peer = try #require(try thread.takePeer() as? IOThread)
            let file = unsafe open(path, O_RDWR | O_CREAT, 0o600)
            defer { close(file) }
            let wrong = Shared<[String]>([])
            await thread.visit(peer.taskExecutor) {
                func look(_ what: String) { if !peer.isOwn { wrong.value.append(what) } }
                look("begin")
                await thread.sleep(ms: 1)
                look("sleep")
                #expect(await thread.offload { 7 } == 7)
                look("offload")
                let bytes = [UInt8](repeating: 5, count: 4096)
                for choice in [FileEngine.ring, .threads] {
                    try? await thread.write(file, at: 0, from: bytes.rawBytes, dsync: false, engine: choice)
                    look("write")
                    var buffer = AlignedBuffer(byteCount: 4096)
                    var target = buffer.mutableBytes
                    try? await thread.read(file, at: 0, into: &target, engine: choice)
                    look("read")
                    #expect(buffer.bytes.array == bytes)
                }
                thread.spawn { look("spawn") }
                await thread.yield()
            }
            #expect(wrong.value == [])
            #expect(thread.isOwn)
        }
    }

    @Test("what the clock sets off is the owner's, and is cancelled from any thread", arguments: engines)
    func timers(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let (a, b) = (try thread.takePeer(), try thread.takePeer())
            let fired = Shared<[String]>([])
            let kept = Shared<[TimerID]>([])
            await thread.visit(a.taskExecutor) {
                _ = thread.schedule(afterMs: 1) { fired.value.append(thread.isOwn ? "owner" : "peer") }
                kept.value.append(thread.schedule(afterMs: 30) { fired.value.append("cancelled by the owner") })
                kept.value.append(thread.schedule(afterMs: 30) { fired.value.append("cancelled by a peer") })
                thread.cancel(thread.schedule(afterMs: 0) { fired.value.append("cancelled at once") })
            }
            thread.cancel(kept.value[0])
            let own = thread.schedule(afterMs: 30) { fired.value.append("the owner's, cancelled by a peer") }
            await thread.visit(b.taskExecutor) {
                thread.cancel(kept.value[1])
                thread.cancel(own)
            }
            await thread.sleep(ms: 60)
            #expect(fired.value == ["owner"])
            #expect(Set(kept.value).count == 2)
        }
    }

    @Test("a socket that the owner closes wakes the peer that waits on it", arguments: engines)
    func sockets(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let peer = try thread.takePeer()
            var ends: [Int32] = [0, 0]
            #expect(unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
            let (near, far) = (Socket(ends[0], on: thread), Socket(ends[1], on: thread))
            let got = Shared<[Int]>([])
            thread.spawn {
                await thread.visit(peer.taskExecutor) {
                    var buffer = AlignedBuffer(byteCount: 16)
                    while true {
                        var room = buffer.mutableBytes
                        guard let count = try? await near.receive(into: &room), count > 0 else { break }
                        got.value.append(count)
                    }
                    got.value.append(-1)
                }
            }
            let bytes: [UInt8] = [1, 2, 3]
            try await far.send(bytes.rawBytes)
            #expect(await thread.waits { got.value == [3] })
            near.close()
            #expect(await thread.waits { got.value == [3, -1] })
            far.close()
        }
    }

    @Test("what a peer wants of the owner is done in order, and soon", arguments: engines)
    func owner(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let peer = try thread.takePeer()
            let done = Shared<[Int]>([])
            await thread.visit(peer.taskExecutor) {
                for number in 0..<100 { thread.onOwner { done.value.append(thread.isOwn ? number : -1) } }
            }
            #expect(await thread.waits { done.value.count == 100 })
            #expect(done.value == Array(0..<100))
            thread.onOwner { done.value.append(100) }
            #expect(done.value.last == 100)
        }
    }

    @Test("a thread that was given back is taken again, and there is an end to them")
    func reuse() async throws {
        try await onThread(.threads) { thread in
            let first = try thread.takePeer()
            thread.giveBack(first)
            #expect(try thread.takePeer() === first)
            for _ in 1..<64 { _ = try thread.takePeer() }
            #expect(await refusal { _ = try thread.takePeer() } == "There are 64 I/O threads already")
        }
    }
}

/// A number that several threads change at once.
private final class Count: Sendable {
    private let number = Atomic<Int>(0)
    var value: Int { number.load(ordering: .sequentiallyConsistent) }
    func add(_ difference: Int) { number.wrappingAdd(difference, ordering: .sequentiallyConsistent) }
}
