/// Where an NBD server is reached.
public enum NBDAddress: Equatable, Hashable, Sendable {
    case unix(path: String)
    case inet(Inet)
    /// A connected socket that this process inherited, by its number. It serves once: who loses it cannot come back.
    case descriptor(Int32)

    /// A TCP address.
    public struct Inet: Equatable, Hashable, Sendable {
        /// Name or number, without brackets.
        public var host: String
        /// Number or service name.
        public var port: String
        /// Nil: as far as the other is not asked for alone.
        public var ipv4: Bool?
        public var ipv6: Bool?
        /// Whether the host is a number, so that no name is resolved.
        public var isNumeric: Bool?
        /// Whether the system probes idle connections.
        public var keepsAlive: Bool?

        public init(host: String, port: String) {
            self.host = host
            self.port = port
        }
    }

    /// As error messages name it.
    public var text: String {
        switch self {
        case .unix(let path): path
        case .inet(let inet): "\(inet.host):\(inet.port)"
        case .descriptor(let number): "fd:\(number)"
        }
    }
}

/// What a remote export is used with: the options of the driver `nbd`.
public struct NBDRemoteOptions: Equatable, Sendable {
    public var server: NBDAddress
    /// Nil: the server's default export, whose name is empty.
    public var export: String?
    /// The TLS credentials that connections are made private with; nil: they go in the clear.
    public var tlsCredentials: String?
    /// Whom the server's certificate must be for; nil: the host that is connected to.
    public var tlsHostname: String?
    /// The meta context whose state is told as block status; nil: `base:allocation`, where the server has it.
    public var bitmap: String?
    /// How long requests wait for a connection that was lost, in seconds; 0: they fail at once.
    public var reconnectDelay: UInt32
    /// How long opening tries again, in seconds; 0: it tries once.
    public var openTimeout: UInt32

    public init(
        server: NBDAddress, export: String? = nil, bitmap: String? = nil, reconnectDelay: UInt32 = 0,
        openTimeout: UInt32 = 0
    ) {
        self.server = server
        self.export = export
        self.bitmap = bitmap
        self.reconnectDelay = reconnectDelay
        self.openTimeout = openTimeout
    }

    /// Whom the server's certificate must be for, where that is known.
    public var expectedHost: String? {
        if let tlsHostname { return tlsHostname }
        guard case .inet(let inet) = server else { return nil }
        return inet.host
    }
}
