import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO
import HostTestKit
import Testing

/// What concerns the whole process: each test has one of its own.
@Suite("The process of an I/O thread")
struct ProcessTests {
    @Test("R31: a peer that vanishes is an error of the send and no SIGPIPE, on sockets and on pipes")
    func vanishingPeers() async {
        await #expect(processExitsWith: .success) {
            // On the default disposition, where a SIGPIPE ends the process, sockets must not raise one.
            for engine in engines {
                try await onThread(engine) { thread in
                    let (near, far) = socketPair()
                    let stream = Socket(near, on: thread)
                    Glibc.close(far)
                    #expect(await failure { try await send([1, 2, 3], to: stream) } == .closed)
                }
            }
            // A pipe's writer has no flag for that: the program ignores the signal.
            IOThread.blockSignals()
            for engine in engines {
                try await onThread(engine) { thread in
                    let (there, back) = (pipePair(), pipePair())
                    let stream = Socket(input: back.reading, output: there.writing, on: thread)
                    Glibc.close(there.reading)
                    #expect(await failure { try await send([1, 2, 3], to: stream) } == .closed)
                    Glibc.close(back.writing)
                }
            }
        }
    }

    @Test("SIGINT, SIGTERM and SIGHUP are told on the thread, each time, and end nothing")
    func signals() async {
        await #expect(processExitsWith: .success) {
            IOThread.blockSignals()
            for engine in engines {
                // The thread inherits its mask from this one; other threads of this process have another, so the signals
                // are sent to it alone.
                let thread = IOThread(engine: engine)
                thread.start()
                let (told, elsewhere) = await thread.run {
                    let told = Shared(0)
                    let elsewhere = Shared(0)
                    thread.onTermination {
                        told.value += 1
                        if !thread.isCurrent { elsewhere.value += 1 }
                    }
                    for (index, signal) in [SIGTERM, SIGINT, SIGHUP, SIGTERM].enumerated() {
                        pthread_kill(pthread_self(), signal)
                        if await !thread.waits(until: { told.value == index + 1 }) { break }
                    }
                    return (told.value, elsewhere.value)
                }
                #expect(told == 4)
                #expect(elsewhere == 0)
                thread.stop()
            }
        }
    }

    @Test("the limit of descriptors is raised as far as the host allows")
    func descriptorLimit() async {
        await #expect(processExitsWith: .success) {
            let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
            var limit = rlimit(rlim_cur: 100, rlim_max: 300)
            // Proof: one local structure, here and below.
            #expect(unsafe setrlimit(resource, &limit) == 0)
            #expect(DescriptorLimit.raise() == 300)
            #expect(unsafe getrlimit(resource, &limit) == 0)
            #expect(limit.rlim_cur == 300)
            #expect(DescriptorLimit.raise() == 300)
        }
    }

    @Test("where descriptors run out a listener asks for room, and takes the next connection as soon as there is some")
    func exhaustion() async {
        await #expect(processExitsWith: .success) {
            for engine in engines {
                let folder = Folder()
                try await onThread(engine) { thread in
                    let listener = try SocketListener(.unix(path: folder.file("s")), on: thread)
                    // Two clients, and then no descriptor more.
                    let clients = try (0..<2).map { _ in try Socket.connect(to: listener.address, on: thread) }
                    let first = try await listener.accept()
                    var fillers: [Int32] = []
                    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
                    var limit = rlimit()
                    // Proof: one local structure, here and below.
                    #expect(unsafe getrlimit(resource, &limit) == 0)
                    limit.rlim_cur = 200
                    #expect(unsafe setrlimit(resource, &limit) == 0)
                    while true {
                        let filler = dup(0)
                        if filler < 0 { break }
                        fillers.append(filler)
                    }
                    let waits = Shared(0)
                    thread.spawn { _ = await failure { _ = try await receive(1, from: first) } }
                    listener.makeRoom = {
                        waits.value += 1
                        first.close()
                        return true
                    }
                    // So that the test ends also where nobody is asked.
                    _ = thread.schedule(afterMs: 2000) { first.close() }
                    let began = thread.nowNs
                    let second = try await listener.accept()
                    #expect(thread.nowNs - began < 90_000_000, "it slept")
                    #expect(waits.value >= 1)
                    for filler in fillers { Glibc.close(filler) }
                    try await send([7], to: clients[1])
                    #expect(try await receive(1, from: second) == [7])
                    #expect(try await receive(1, from: clients[0]) == [])
                }
            }
        }
    }

    @Test("threads, files, connections and refused opens leave no descriptor behind")
    func descriptors() async {
        await #expect(processExitsWith: .success) {
            func work() async throws {
                for engine in engines {
                    let folder = Folder()
                    try await onThread(engine) { thread in
                        try await useStreams(thread, folder)
                    }
                }
            }
            // What the libraries open once and keep is there after the first round.
            try await work()
            let before = descriptorCount()
            for _ in 0..<5 { try await work() }
            #expect(descriptorCount() == before)
        }
    }
}

/// Connections that end in every way: closed by either side, dropped, under way, never accepted.
private func useStreams(_ thread: IOThread, _ folder: Folder) async throws {
    for address in [SocketAddress.unix(path: folder.file("s")), .inet(host: "127.0.0.1", port: "0")] {
        let listener = try SocketListener(address, on: thread)
        let target = listener.port.map { SocketAddress.inet(host: "127.0.0.1", port: "\($0)") } ?? address
        for way in 0..<4 {
            let client = try Socket.connect(to: target, on: thread)
            let server = try await listener.accept()
            try await send([1], to: client)
            _ = try await receive(1, from: server)
            let ended = Shared(0)
            thread.spawn {
                _ = await failure { _ = try await receive(1, from: server) }
                ended.value += 1
            }
            switch way {
            case 0: client.close()
            case 1: server.close()
            case 2:
                server.close()
                client.close()
            default:
                await thread.sleep(ms: 0)
                server.close()
            }
            _ = await thread.waits { ended.value == 1 }
        }
        let waiting = try Socket.connect(to: target, on: thread)
        listener.close()
        waiting.close()
    }
    let nowhere = SocketAddress.unix(path: folder.file("nowhere"))
    #expect(await refusal { _ = try Socket.connect(to: nowhere, on: thread) } != "")
    #expect(await refusal { _ = try SocketListener(.unix(path: "/nowhere/s"), on: thread) } != "")
    let (there, back) = (pipePair(), pipePair())
    let stream = Socket(input: there.reading, output: back.writing, on: thread)
    stream.close()
    Glibc.close(there.writing)
    Glibc.close(back.reading)
    let path = folder.make("a", [1, 2, 3])
    // Proof: the path is lent as a C string for the call.
    let file = unsafe open(path, O_RDWR | O_CLOEXEC)
    _ = await thread.offload { fdatasync(file) }
    try await thread.fdatasync(file, engine: .ring)
    Glibc.close(file)
}
