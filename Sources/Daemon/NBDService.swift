import Block
public import HostIO
public import Image

/// One image served over NBD, as `qemu-nbd` does: what is served, to whom, and until when.
public struct NBDService: Sendable {
    public var image: IOOpening
    /// Objects that the image's options name, each as `--object` has it.
    public var objects: [String] = []
    public var address: HostIO.SocketAddress
    /// Clients at a time; others wait until one has gone. 0: any number.
    public var clients = 1
    /// Whether it goes on after the last client.
    public var isPersistent = false
    /// The name on the wire.
    public var name = ""
    public var description: String?
    /// The TLS credentials that its connections are made private with, and who may come in then; nil: they go in the clear.
    public var tlsCredentials: String?
    public var tlsAuthorisation: String?
    /// Bytes of the image that come before what is served.
    public var offset: UInt64 = 0
    public var offersDepth = false
    /// Dirty bitmaps that clients may look at.
    public var bitmaps: [String] = []

    public init(_ image: IOOpening, on address: HostIO.SocketAddress) {
        self.image = image
        self.address = address
    }
}

extension Daemon {
    /// Serves one image until the last client has gone, unless it goes on then, or until SIGINT, SIGTERM or SIGHUP. It is the
    /// daemon without a monitor: the same graph, server and order of closing. `warn` takes lines for standard error.
    public static func serve(
        _ service: NBDService, configuration: DaemonConfiguration, warn: @escaping @Sendable (String) -> Void,
        ready: @escaping @Sendable () throws(DaemonStartError) -> Void
    ) throws(DaemonStartError) {
        try run(configuration) { (daemon) async throws(DaemonStartError) in
            do throws(OpenError) { try await daemon.serve(service, warn) } catch {
                throw DaemonStartError(option: nil, message: error.text)
            }
            try ready()
        }
    }
}
