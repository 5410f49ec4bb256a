import HostIO
import QMPTypes

// Socket addresses of the wire.

extension HostIO.SocketAddress {
    /// In the form that wraps the address in `data`.
    /// `descriptor` says what a passed socket is by its name.
    init(
        _ address: SocketAddressLegacy, descriptor: (String) throws(QMPError) -> HostIO.SocketAddress
    ) throws(QMPError) {
        switch address.variant {
        case .inet(let inet): self = try Self.inet(inet.data)
        case .unix(let unix): self = try Self.unix(unix.data)
        case .fd(let fd): self = try descriptor(fd.data.str)
        case .vsock, .nothing: throw QMPError("socket type '\(address.type.rawValue)' is not supported")
        }
    }

    init(_ address: QMPTypes.SocketAddress) throws(QMPError) {
        switch address.variant {
        case .inet(let inet): self = try Self.inet(inet)
        case .unix(let unix): self = try Self.unix(unix)
        case .fd(let fd): self = try Self.inherited(fd.str)
        case .vsock, .nothing: throw QMPError("socket type '\(address.type.rawValue)' is not supported")
        }
    }

    private static func inet(_ address: InetSocketAddress) throws(QMPError) -> Self {
        if address.mptcp ?? false { throw QMPError("MPTCP is not supported") }
        if address.keepAlive ?? false { throw QMPError("keep-alive options are not supported for passive sockets") }
        var options = InetOptions()
        options.lastPort = address.to
        options.isNumeric = address.numeric ?? false
        // One that is named alone excludes the other.
        options.allowsIPv4 = address.ipv4 ?? !(address.ipv6 ?? false)
        options.allowsIPv6 = address.ipv6 ?? !(address.ipv4 ?? false)
        guard options.allowsIPv4 || options.allowsIPv6 else { throw QMPError("inet: neither IPv4 nor IPv6 is allowed") }
        return .inet(host: address.host, port: address.port, options)
    }

    private static func unix(_ address: UnixSocketAddress) throws(QMPError) -> Self {
        if address.abstract ?? false { throw QMPError("abstract unix sockets are not supported") }
        return .unix(path: address.path)
    }

    static func inherited(_ text: String) throws(QMPError) -> Self {
        guard let number = Int32(text), number >= 0 else {
            throw QMPError("File descriptor named '\(text)' has not been found")
        }
        return .descriptor(number)
    }
}
