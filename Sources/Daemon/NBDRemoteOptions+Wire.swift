package import HostIO
package import NBDClient
import NBDWire
import QMPTypes

// The wire's description of a remote export.

extension NBDRemoteOptions {
    init(_ options: BlockdevOptionsNbd) throws(QMPError) {
        if let export = options.export, export.utf8.count > NBDLimits.stringLength {
            throw QMPError("export name too long to send to server")
        }
        if let bitmap = options.xDirtyBitmap, bitmap.utf8.count > NBDLimits.stringLength {
            throw QMPError("x-dirty-bitmap query too long to send to server")
        }
        self.init(
            server: try NBDAddress(options.server), export: options.export, bitmap: options.xDirtyBitmap,
            reconnectDelay: options.reconnectDelay ?? 0, openTimeout: options.openTimeout ?? 0)
        tlsCredentials = options.tlsCreds
        tlsHostname = options.tlsHostname
    }
}

extension NBDAddress {
    fileprivate init(_ address: QMPTypes.SocketAddress) throws(QMPError) {
        switch address.variant {
        case .inet(let inet):
            if inet.mptcp ?? false { throw QMPError("MPTCP is not supported") }
            if inet.ipv4 == false, inet.ipv6 == false {
                throw QMPError("inet: neither IPv4 nor IPv6 is allowed")
            }
            var own = Inet(host: inet.host, port: inet.port)
            own.ipv4 = inet.ipv4
            own.ipv6 = inet.ipv6
            own.isNumeric = inet.numeric
            own.keepsAlive = inet.keepAlive
            self = .inet(own)
        case .unix(let unix):
            if unix.abstract ?? false { throw QMPError("abstract unix sockets are not supported") }
            self = .unix(path: unix.path)
        case .fd(let fd):
            guard case .descriptor(let number) = try HostIO.SocketAddress.inherited(fd.str) else {
                throw QMPError("File descriptor named '\(fd.str)' has not been found")
            }
            self = .descriptor(number)
        case .vsock, .nothing: throw QMPError("socket type '\(address.type.rawValue)' is not supported")
        }
    }
}

extension HostIO.SocketAddress {
    /// A server's address as sockets take it.
    package init(_ address: NBDAddress) {
        switch address {
        case .unix(let path): self = .unix(path: path)
        case .descriptor(let number): self = .descriptor(number)
        case .inet(let inet):
            var options = InetOptions()
            options.isNumeric = inet.isNumeric ?? false
            // One that is named alone excludes the other.
            options.allowsIPv4 = inet.ipv4 ?? !(inet.ipv6 ?? false)
            options.allowsIPv6 = inet.ipv6 ?? !(inet.ipv4 ?? false)
            options.keepsAlive = inet.keepsAlive ?? false
            self = .inet(host: inet.host, port: inet.port, options)
        }
    }
}
