public import Block
import CLinux
import Glibc

/// A socket that takes connections, on an I/O thread. A unix socket is made with mode 0600 and its file removed when
/// the listener closes.
public final class SocketListener {
    public let address: SocketAddress
    private let thread: IOThread
    private let descriptor: Int32
    private var isClosed = false
    private var isReleased = false
    private var accepting: Readiness?
    /// Asked where the host has no descriptor left for the next connection: lets one go that can be spared, and says
    /// whether one is going.
    public var makeRoom: (() -> Bool)?

    /// Listens at `address`. A unix socket file that nobody answers any more is replaced.
    public init(_ address: SocketAddress, on thread: IOThread) throws(OpenError) {
        self.address = address
        self.thread = thread
        switch address {
        case .unix(let path): descriptor = try Self.listenUnix(path)
        case .inet(let host, let port, let options): descriptor = try Self.listenInet(host, port, options)
        case .descriptor(let number):
            guard isStreamSocket(number) else { throw OpenError("File descriptor '\(number)' is not a socket") }
            descriptor = number
        }
        guard listen(descriptor, 128) == 0 else {
            let reason = errnoText(nacre_errno())
            // One that was inherited is its owner's until it listens for us; any other goes with this object.
            if case .descriptor = address { isReleased = true }
            throw OpenError("Failed to listen on socket: \(reason)")
        }
        _ = nacre_set_nonblocking(descriptor)
    }

    deinit { release() }

    /// The port of an inet listener, also where it was asked for as 0; nil for others.
    public var port: UInt16? {
        guard case .inet = address else { return nil }
        let port = nacre_local_port(descriptor)
        return port < 0 ? nil : UInt16(truncatingIfNeeded: port)
    }

    /// Waits for a connection. Throws `closed` once the listener is.
    public func accept() async throws(BlockError) -> Socket {
        while true {
            if isClosed { throw .closed }
            let connection = nacre_accept(descriptor)
            if connection >= 0 { return Socket(connection, on: thread) }
            switch nacre_errno() {
            case EAGAIN, EINTR, ECONNABORTED:
                await thread.ready(descriptor, for: .readable) { accepting = $0 }
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                // Out of descriptors. One that is going is gone when the thread has turned; where none can be spared,
                // those who are connected go on, and the next one waits for room.
                await thread.sleep(ms: makeRoom?() == true ? 0 : 100)
            case let code: throw BlockError(errno: code)
            }
        }
    }

    public func close() {
        guard !isClosed else { return }
        isClosed = true
        accepting?.cancel()
        release()
    }

    private func release() {
        guard !isReleased else { return }
        isReleased = true
        Glibc.close(descriptor)
        if case .unix(let path) = address {
            // Proof: the string is lent as a C string for the call, here and below.
            _ = unsafe unlink(path)
        }
    }

    private static func listenUnix(_ path: String) throws(OpenError) -> Int32 {
        guard !path.utf8.contains(0) else { throw OpenError("Failed to bind socket to \(path): \(errnoText(ENOENT))") }
        let descriptor = nacre_socket(AF_UNIX)
        guard descriptor >= 0 else { throw OpenError("Failed to create Unix socket: \(errnoText(nacre_errno()))") }
        // The mode is narrowed before the file appears, so that nobody can connect in between.
        let mask = umask(0o177)
        defer { umask(mask) }
        if unsafe nacre_bind_unix(descriptor, path) == 0 { return descriptor }
        var code = nacre_errno()
        if code == EADDRINUSE, isAbandoned(path) {
            _ = unsafe unlink(path)
            if unsafe nacre_bind_unix(descriptor, path) == 0 { return descriptor }
            code = nacre_errno()
        }
        Glibc.close(descriptor)
        if code == ENAMETOOLONG { throw OpenError("UNIX socket path '\(path)' is too long") }
        throw OpenError("Failed to bind socket to \(path): \(errnoText(code))")
    }

    /// Whether the file is a socket that refuses connections: its server ended without removing it.
    private static func isAbandoned(_ path: String) -> Bool {
        var info = stat()
        // Proof: one local structure, and a string lent for the call. A plain file refuses connections just as well.
        guard unsafe lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFSOCK else { return false }
        let trial = nacre_socket(AF_UNIX)
        guard trial >= 0 else { return false }
        defer { Glibc.close(trial) }
        return unsafe nacre_connect_unix(trial, path) != 0 && nacre_errno() == ECONNREFUSED
    }

    private static func listenInet(_ host: String, _ port: String, _ options: InetOptions) throws(OpenError) -> Int32 {
        guard !host.utf8.contains(0), !port.utf8.contains(0) else {
            throw OpenError("address resolution failed for \(host):\(port): \(resolverText(EAI_NONAME))")
        }
        var port = port
        while true {
            var code: Int32 = 0
            // Proof: one local integer.
            let descriptor = unsafe nacre_inet(host, port, options.familyNumber, options.isNumeric ? 1 : 0, 1, 0, &code)
            if descriptor >= 0 { return descriptor }
            if code < 0 { throw OpenError("address resolution failed for \(host):\(port): \(resolverText(code))") }
            guard code == EADDRINUSE else { throw OpenError("Failed to bind socket: \(errnoText(code))") }
            guard let number = UInt16(port), number < options.lastPort ?? 0 else {
                throw OpenError("Failed to find an available port: \(errnoText(code))")
            }
            port = String(number + 1)
        }
    }
}

extension InetOptions {
    /// 4 or 6 where only that is allowed, else 0.
    var familyNumber: Int32 {
        switch (allowsIPv4, allowsIPv6) {
        case (true, false): 4
        case (false, true): 6
        default: 0
        }
    }
}

func isStreamSocket(_ descriptor: Int32) -> Bool {
    var (type, size): (Int32, socklen_t) = (0, 4)
    // Proof: two local integers.
    return unsafe getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) == 0
        && type == Int32(SOCK_STREAM.rawValue)
}

/// The host's words for an errno, as strerror gives them.
public func errnoText(_ code: Int32) -> String {
    // Proof: strerror answers a NUL-terminated string, copied at once.
    unsafe String(cString: strerror(code))
}

func resolverText(_ code: Int32) -> String {
    // Proof: as above.
    unsafe String(cString: gai_strerror(code))
}
