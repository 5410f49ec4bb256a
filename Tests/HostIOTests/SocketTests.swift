import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO
import HostTestKit
import Testing

@Suite("Sockets on the I/O thread")
struct SocketTests {
    /// An engine and a family of addresses.
    struct Way: Sendable, CustomTestStringConvertible {
        let engine: IOThread.EngineChoice
        let isUnix: Bool
        var testDescription: String { "\(engine), \(isUnix ? "unix" : "TCP")" }
    }

    static let ways = engines.flatMap { [Way(engine: $0, isUnix: true), Way(engine: $0, isUnix: false)] }

    static func listen(_ way: Way, _ folder: Folder, _ thread: IOThread) throws(OpenError) -> SocketListener {
        try SocketListener(
            way.isUnix ? .unix(path: folder.file("s")) : .inet(host: "127.0.0.1", port: "0"), on: thread)
    }

    /// A client of the listener.
    static func connect(_ listener: SocketListener, _ thread: IOThread) throws(OpenError) -> Socket {
        guard let port = listener.port else { return try Socket.connect(to: listener.address, on: thread) }
        return try Socket.connect(to: .inet(host: "127.0.0.1", port: "\(port)"), on: thread)
    }

    /// Both ends of a connection.
    static func connection(_ way: Way, _ folder: Folder, _ thread: IOThread) async throws -> (Socket, Socket) {
        let listener = try listen(way, folder, thread)
        defer { listener.close() }
        let client = try connect(listener, thread)
        return (client, try await listener.accept())
    }

    @Test("a descriptor on which nobody can listen is refused, and stays its owner's", arguments: engines)
    func foreignDescriptor(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let path = folder.make("image")
        // Proof: the path is lent as a C string for the call.
        let file = unsafe open(path, O_RDWR)
        let idle = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        try await onThread(engine) { thread in
            for (number, text) in [
                (file, "File descriptor '\(file)' is not a socket"),
                (idle, "Failed to listen on socket: Invalid argument"),
            ] {
                #expect(await refusal { _ = try SocketListener(.descriptor(number), on: thread) } == text)
                #expect(fcntl(number, F_GETFD) >= 0)
            }
            #expect(throws: OpenError("File descriptor '\(file)' is not a socket")) {
                _ = try Socket.connect(to: .descriptor(file), on: thread)
            }
        }
        #expect(descriptors(of: path) == [file])
        Glibc.close(file)
        Glibc.close(idle)
    }

    @Test("a socket's path with a NUL in it names no other", arguments: engines)
    func cutPath(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        try await onThread(engine) { thread in
            let whole = folder.file("s\0x")
            #expect(throws: OpenError("Failed to bind socket to \(whole): No such file or directory")) {
                _ = try SocketListener(.unix(path: whole), on: thread)
            }
            let listener = try SocketListener(.unix(path: folder.file("s")), on: thread)
            #expect(throws: OpenError("Failed to connect to '\(whole)': No such file or directory")) {
                _ = try Socket.connect(to: .unix(path: whole), on: thread)
            }
            listener.close()
        }
    }

    @Test("megabytes cross both ways at once, whole and in order", arguments: ways)
    func echo(way: Way) async throws {
        let folder = Folder()
        try await onThread(way.engine) { thread in
            let (client, server) = try await Self.connection(way, folder, thread)
            thread.spawn {
                var buffer = AlignedBuffer(byteCount: 65536)
                do {
                    while true {
                        var room = buffer.mutableBytes
                        let count = try await server.receive(into: &room)
                        if count == 0 { break }
                        // In two parts, either of which may be empty.
                        let half = count / 2
                        let bytes = buffer.bytes
                        try await server.send(bytes.extracting(0..<half), bytes.extracting(half..<count))
                    }
                } catch {}
                server.close()
            }
            var random = SeededRandom(seed: 5)
            let bytes = random.bytes(3_000_000)
            thread.spawn { try? await send(bytes, to: client) }
            let back = try await receive(bytes.count, from: client)
            #expect(back == bytes)
            client.close()
        }
    }

    @Test("close wakes who receives and who sends, both with `closed`, and may be called again", arguments: ways)
    func close(way: Way) async throws {
        let folder = Folder()
        try await onThread(way.engine) { thread in
            let (client, server) = try await Self.connection(way, folder, thread)
            let errors = Shared<[BlockError?]>([])
            thread.spawn { errors.value.append(await failure { _ = try await receive(1, from: server) }) }
            let much = [UInt8](repeating: 1, count: 32 << 20)
            thread.spawn { errors.value.append(await failure { try await send(much, to: server) }) }
            await thread.sleep(ms: 5)
            #expect(errors.value.isEmpty)
            server.close()
            server.close()
            #expect(await thread.waits { errors.value.count == 2 })
            #expect(errors.value == [.closed, .closed])
            #expect(await failure { _ = try await receive(1, from: server) } == .closed)
            #expect(await failure { try await send([1], to: server) } == .closed)
            client.close()
        }
    }

    @Test("a peer that went away is the end of the stream to a receiver and `closed` to a sender", arguments: ways)
    func peerGone(way: Way) async throws {
        let folder = Folder()
        try await onThread(way.engine) { thread in
            let (client, server) = try await Self.connection(way, folder, thread)
            try await send([1, 2, 3], to: client)
            client.close()
            #expect(try await receive(10, from: server) == [1, 2, 3])
            #expect(try await receive(10, from: server) == [])
            let much = [UInt8](repeating: 1, count: 4 << 20)
            #expect(await failure { try await send(much, to: server) } == .closed)
        }
    }

    @Test("close of a listener wakes who accepts, and later connections are refused", arguments: ways)
    func closeListener(way: Way) async throws {
        let folder = Folder()
        try await onThread(way.engine) { thread in
            let listener = try Self.listen(way, folder, thread)
            let errors = Shared<[BlockError?]>([])
            thread.spawn { errors.value.append(await failure { _ = try await listener.accept() }) }
            await thread.sleep(ms: 5)
            listener.close()
            #expect(await thread.waits { !errors.value.isEmpty })
            #expect(errors.value == [.closed])
            // A TCP port that became free may be another test's by now.
            guard way.isUnix else { return }
            #expect(
                await refusal { _ = try Socket.connect(to: listener.address, on: thread) }
                    == "Failed to connect to '\(listener.address)': No such file or directory")
        }
    }

    @Test("a hundred connections at once are each served", arguments: ways)
    func manyConnections(way: Way) async throws {
        let folder = Folder()
        try await onThread(way.engine) { thread in
            let listener = try Self.listen(way, folder, thread)
            thread.spawn {
                while let server = try? await listener.accept() {
                    thread.spawn {
                        guard let bytes = try? await receive(4, from: server) else { return }
                        try? await send(bytes.reversed(), to: server)
                    }
                }
            }
            let served = Shared(0)
            for number in 0..<100 as Range<UInt8> {
                thread.spawn {
                    guard let client = try? Self.connect(listener, thread) else { return }
                    try? await send([1, 2, 3, number], to: client)
                    if (try? await receive(4, from: client)) == [number, 3, 2, 1] { served.value += 1 }
                }
            }
            #expect(await thread.waits { served.value == 100 })
            listener.close()
        }
    }

    @Test("the file of a unix socket is its owner's alone, and goes with the listener", arguments: engines)
    func socketFile(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let path = folder.file("s")
        try await onThread(engine) { thread in
            let listener = try SocketListener(.unix(path: path), on: thread)
            #expect(hostStatus(path).st_mode & 0o777 == 0o600)
            listener.close()
            #expect(hostStatus(path).st_mode == 0)
        }
    }

    @Test("a dead server's socket file is replaced; a live one's and a plain file are not", arguments: engines)
    func staleSocket(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let path = folder.file("s")
        let plain = folder.make("plain", [1])
        try await onThread(engine) { thread in
            Glibc.close(boundSocket(path))
            let listener = try SocketListener(.unix(path: path), on: thread)
            #expect(
                await refusal { _ = try SocketListener(.unix(path: path), on: thread) }
                    == "Failed to bind socket to \(path): Address already in use")
            // The second listener looked whether anybody answers.
            _ = try await listener.accept()
            let client = try Self.connect(listener, thread)
            let server = try await listener.accept()
            try await send([4], to: client)
            #expect(try await receive(1, from: server) == [4])
            listener.close()
            #expect(
                await refusal { _ = try SocketListener(.unix(path: plain), on: thread) }
                    == "Failed to bind socket to \(plain): Address already in use")
            #expect(hostStatus(plain).st_size == 1)
        }
    }

    @Test("an address that cannot be had is refused with the host's reason", arguments: engines)
    func refusals(engine: IOThread.EngineChoice) async throws {
        try await onThread(engine) { thread in
            let long = "/" + String(repeating: "x", count: 120)
            #expect(
                await refusal { _ = try SocketListener(.unix(path: long), on: thread) }
                    == "UNIX socket path '\(long)' is too long")
            let nowhere = SocketAddress.unix(path: "/nowhere/at/all")
            #expect(
                await refusal { _ = try Socket.connect(to: nowhere, on: thread) }
                    == "Failed to connect to '/nowhere/at/all': No such file or directory")
            let first = try SocketListener(.inet(host: "127.0.0.1", port: "0"), on: thread)
            let port = try #require(first.port)
            #expect(port > 0)
            let taken = SocketAddress.inet(host: "127.0.0.1", port: "\(port)")
            #expect(
                await refusal { _ = try SocketListener(taken, on: thread) }.hasSuffix("Address already in use"))
            first.close()
            let nobody = SocketAddress.inet(host: "127.0.0.1", port: "1")
            #expect(
                await refusal { _ = try Socket.connect(to: nobody, on: thread) }
                    == "Failed to connect to '127.0.0.1:1': Connection refused")
            let unknown = SocketAddress.inet(host: "no such host", port: "1")
            #expect(
                await refusal { _ = try SocketListener(unknown, on: thread) }
                    .hasPrefix("address resolution failed for no such host:1: "))
        }
    }

    @Test("a listening socket that was inherited takes connections", arguments: engines)
    func inherited(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let path = folder.file("s")
        try await onThread(engine) { thread in
            let listener = try SocketListener(.descriptor(boundSocket(path)), on: thread)
            let client = try Socket.connect(to: .unix(path: path), on: thread)
            let server = try await listener.accept()
            try await send([9], to: client)
            #expect(try await receive(1, from: server) == [9])
            // The file belongs to whoever made the socket.
            listener.close()
            #expect(hostStatus(path).st_mode != 0)
        }
    }

    @Test("descriptors passed over a unix socket arrive in order, can be used, and close on exec", arguments: engines)
    func passing(engine: IOThread.EngineChoice) async throws {
        let folder = Folder()
        let paths = [folder.make("a", [1]), folder.make("b", [2])]
        try await onThread(engine) { thread in
            let (near, far) = socketPair()
            defer { Glibc.close(near) }
            let stream = Socket(far, on: thread)
            // Proof: the paths are lent as C strings for the calls.
            let files = paths.map { unsafe open($0, O_RDONLY | O_CLOEXEC) }
            #expect(pass(files, with: 5, over: near))
            for file in files { Glibc.close(file) }
            let bytes = try await receive(1, from: stream)
            #expect(bytes == [5])
            let passed = [stream.takeDescriptor(), stream.takeDescriptor()].compactMap(\.self)
            #expect(stream.takeDescriptor() == nil)
            #expect(stream.localAddress == nil)
            #expect(passed.count == 2)
            for (index, descriptor) in passed.enumerated() {
                var byte: UInt8 = 0
                // Proof: room for one byte.
                #expect(unsafe pread(descriptor, &byte, 1, 0) == 1)
                #expect(byte == UInt8(index + 1))
                #expect(fcntl(descriptor, F_GETFD) == FD_CLOEXEC)
                #expect(descriptors(of: paths[index]) == [descriptor])
                Glibc.close(descriptor)
            }
        }
    }

    @Test("sixteen passed descriptors are kept, what comes beyond is closed, and untaken ones end with the stream")
    func passingMany() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(.automatic) { thread in
            let (near, far) = socketPair()
            defer { Glibc.close(near) }
            // Proof: the path is lent as a C string for the call.
            let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
            var stream: Socket? = Socket(far, on: thread)
            for number in 0..<3 as Range<UInt8> {
                #expect(pass([Int32](repeating: file, count: 10), with: number, over: near))
                let bytes = try await receive(1, from: try #require(stream))
                #expect(bytes == [number])
            }
            Glibc.close(file)
            #expect(descriptors(of: path).count == 16)
            stream = nil
            #expect(descriptors(of: path).isEmpty)
        }
    }
}
