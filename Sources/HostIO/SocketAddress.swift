/// Where a server listens or a client connects.
public enum SocketAddress: Equatable, Sendable, CustomStringConvertible {
    case unix(path: String)
    /// A host name or number, and a port number or service name.
    case inet(host: String, port: String)
    /// A socket that this process inherited.
    case descriptor(Int32)

    public var description: String {
        switch self {
        case .unix(let path): path
        case .inet(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .descriptor(let number): "fd:\(number)"
        }
    }
}
