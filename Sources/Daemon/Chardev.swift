import Block
import HostIO
import Logging
import Monitor
import QMPTypes

/// A character device: where a monitor talks to its client. Open from the moment that its option is carried out.
final class Chardev {
    enum End {
        case nothing
        case stream(any ByteStream)
        /// With the client that was waited for, where one was.
        case listener(any StreamListener, first: (any ByteStream)?)
    }

    let end: End
    var isTaken = false

    init(_ end: End) { self.end = end }
}

extension Service {
    /// QEMU's character devices that are not here.
    private static let otherBackends: Set<String> = [
        "pty", "udp", "memory", "file", "ringbuf", "parallel", "pipe", "mux", "serial", "vc", "spicevmc",
    ]

    /// `--chardev BACKEND,id=ID,…` in the words of qemu's chardev options.
    func addChardev(_ text: String) async throws(QMPError) {
        var options = FlatOptions(text, implied: "backend")
        for warning in options.warnings { log.warning("\(warning)") }
        guard let id = options.take("id") else { throw QMPError("chardev: no id specified") }
        guard let backend = options.take("backend") else { throw QMPError("chardev: \"\(id)\" missing backend") }
        guard Self.isIdentifier(id) else { throw QMPError("Parameter 'id' expects an identifier") }
        let end: Chardev.End
        switch backend {
        case "null":
            try options.finish()
            end = .nothing
        case "stdio":
            _ = try options.takeBool("signal")
            try options.finish()
            end = .stream(try takeStandardStreams())
        case "socket": end = try await openSocket(&options)
        case _ where Self.otherBackends.contains(backend):
            throw QMPError("Character devices of type '\(backend)' are not supported")
        default: throw QMPError("'\(backend)' is not a valid char driver name")
        }
        guard chardevs[id] == nil else { throw QMPError("Chardev with id '\(id)' already exists") }
        chardevs[id] = Chardev(end)
    }

    private func takeStandardStreams() throws(QMPError) -> any ByteStream {
        if configuration.daemonizes { throw QMPError("cannot use stdio with -daemonize") }
        if isStandardInputTaken { throw QMPError("cannot use stdio by multiple character devices") }
        isStandardInputTaken = true
        return host.standardStreams
    }

    private func openSocket(_ options: inout FlatOptions) async throws(QMPError) -> Chardev.End {
        let isServer = try options.takeBool("server") ?? false
        let wait = try options.takeBool("wait")
        // Latency is low in any case, and addresses are tried in the resolver's order.
        for ignored in ["nodelay", "ipv4", "ipv6"] { _ = try options.takeBool(ignored) }
        let reconnects = options.take("reconnect").map { $0 != "0" } ?? false
        let address = try Self.address(&options)
        try options.finish()
        if isServer, reconnects {
            throw QMPError("'reconnect' option is incompatible with socket in server listen mode")
        }
        if !isServer, wait == true {
            throw QMPError("'wait' option is incompatible with socket in client connect mode")
        }
        if reconnects { throw QMPError("'reconnect' is not supported") }
        do throws(OpenError) {
            guard isServer else { return .stream(try host.connect(to: address)) }
            let listener = try listen(on: address)
            listeners.append(listener)
            // QEMU's programs wait where nothing else is said. Ours wait where they are told to.
            let waits = wait ?? configuration.actsAsQEMU
            return .listener(listener, first: waits ? await firstClient(of: listener, at: address) : nil)
        } catch { throw QMPError(error) }
    }

    /// Waits for a client; nil where the daemon was told to end meanwhile.
    private func firstClient(of listener: any StreamListener, at address: HostIO.SocketAddress) async
        -> (any ByteStream)?
    {
        log.notice("waiting for a connection on \(address)")
        waitingListener = listener
        defer { waitingListener = nil }
        return try? await listener.next()
    }

    private static func address(_ options: inout FlatOptions) throws(QMPError) -> HostIO.SocketAddress {
        let path = options.take("path")
        let host = options.take("host")
        let port = options.take("port")
        let fd = options.take("fd")
        if let path { return .unix(path: path) }
        if let fd { return try .inherited(fd) }
        if let port { return .inet(host: host ?? "", port: port) }
        throw QMPError("chardev: socket: no \(host == nil ? "path" : "port") given")
    }

    /// Gives the character device to a monitor; its clients are answered once all options have been carried out.
    func start(_ chardev: Chardev, pretty: Bool) {
        let end = chardev.end
        starts.append { [context, monitor] in
            context.spawn {
                switch end {
                case .nothing: break
                case .stream(let stream): await monitor?.serve(stream, pretty: pretty)
                case .listener(let listener, let first):
                    // One client at a time, as a character device has one end.
                    if let first { await monitor?.serve(first, pretty: pretty) }
                    await self.acceptAll(from: listener) { await monitor?.serve($0, pretty: pretty) }
                }
            }
        }
    }
}
