/// Where a server listens or a client connects.
public enum SocketAddress: Equatable, Sendable, CustomStringConvertible {
    case unix(path: String)
    /// A host name or number, and a port number or service name.
    case inet(host: String, port: String, InetOptions = InetOptions())
    /// A socket that this process inherited.
    case descriptor(Int32)

    public var description: String {
        switch self {
        case .unix(let path): path
        case .inet(let host, let port, _): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .descriptor(let number): "fd:\(number)"
        }
    }
}

/// What else is asked of a TCP address.
public struct InetOptions: Equatable, Sendable {
    /// The highest port to try, from the address's own on, where a server finds one taken.
    public var lastPort: UInt16?
    public var allowsIPv4 = true
    public var allowsIPv6 = true
    /// Whether the host is a number, so that no name is resolved.
    public var isNumeric = false
    /// Whether the system probes idle connections of a client.
    public var keepsAlive = false

    public init() {}
}
