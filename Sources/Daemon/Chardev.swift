import Block
import HostIO
import Monitor
import QMPTypes

/// A character device: where a monitor talks to its client.
final class Chardev {
    enum Kind {
        case stdio
        case null
        case server(HostIO.SocketAddress)
        case client(HostIO.SocketAddress)
    }

    let kind: Kind
    var isTaken = false

    init(_ kind: Kind) { self.kind = kind }
}

extension Service {
    /// `--chardev BACKEND,id=ID,…` in the words of qemu's chardev options.
    func addChardev(_ text: String) throws(QMPError) {
        var options = try FlatOptions(text, implied: "backend")
        guard let backend = options.take("backend") else { throw QMPError("chardev: \"\": missing backend") }
        guard let id = options.take("id") else { throw QMPError("Parameter 'id' is missing") }
        guard chardevs[id] == nil else { throw QMPError("Chardev with id '\(id)' already exists") }
        let kind: Chardev.Kind
        switch backend {
        case "stdio":
            _ = options.take("signal")
            kind = .stdio
        case "null": kind = .null
        case "socket": kind = try socket(&options)
        default: throw QMPError("'\(backend)' is not a valid char driver name")
        }
        try options.finish()
        chardevs[id] = Chardev(kind)
    }

    private func socket(_ options: inout FlatOptions) throws(QMPError) -> Chardev.Kind {
        let isServer = try options.takeBool("server") ?? false
        // Nobody is waited for: a monitor's clients come and go.
        _ = try options.takeBool("wait")
        for ignored in ["nodelay", "ipv4", "ipv6", "reconnect", "logfile", "logappend"] { _ = options.take(ignored) }
        let address: HostIO.SocketAddress
        let (path, host, port, fd) = (
            options.take("path"), options.take("host"), options.take("port"), options.take("fd")
        )
        if let path {
            address = .unix(path: path)
        } else if let fd {
            address = try .inherited(fd)
        } else if let port {
            address = .inet(host: host ?? "", port: port)
        } else {
            throw QMPError("chardev: socket: no path, host or fd given")
        }
        return isServer ? .server(address) : .client(address)
    }

    /// Gives the character device to the monitor. Servers listen at once; clients are answered once all options have
    /// been carried out.
    func start(_ chardev: Chardev, pretty: Bool) throws(QMPError) {
        do throws(OpenError) {
            switch chardev.kind {
            case .null: break
            case .stdio: serveLater(host.standardStreams, pretty)
            case .client(let address): serveLater(try host.connect(to: address), pretty)
            case .server(let address): serveLater(try listen(on: address), pretty)
            }
        } catch { throw QMPError(error) }
    }

    private func serveLater(_ socket: any ByteStream, _ pretty: Bool) {
        starts.append { [context, monitor] in
            context.spawn { await monitor?.serve(socket, pretty: pretty) }
        }
    }

    /// One client at a time, as a character device has one end.
    private func serveLater(_ listener: any StreamListener, _ pretty: Bool) {
        listeners.append(listener)
        starts.append { [context, monitor] in
            context.spawn {
                await self.acceptAll(from: listener) { await monitor?.serve($0, pretty: pretty) }
            }
        }
    }
}
