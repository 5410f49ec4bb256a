public import Block
import CLinux
import Glibc

extension Socket {
    /// Connects to a server; blocks until the connection stands.
    public static func connect(to address: SocketAddress, on thread: IOThread) throws(OpenError) -> Socket {
        try opened(reach(address, withinMs: 0), address, on: thread)
    }

    /// Connects to a server while the thread goes on. Each of its addresses may take so many milliseconds; finding them
    /// takes what the resolver takes.
    public static func connect(to address: SocketAddress, withinMs: UInt64, on thread: IOThread)
        async throws(OpenError) -> Socket
    {
        let ms = Int32(clamping: max(withinMs, 1))
        return try opened(await thread.offload { reach(address, withinMs: ms) }, address, on: thread)
    }

    /// What a resolver's errors, which are negative, are moved by to lie apart from those of the system.
    private static let resolverErrors: Int32 = -4096

    /// A connected descriptor, or what went wrong: an errno negated, or a resolver's error.
    private static func reach(_ address: SocketAddress, withinMs: Int32) -> Int32 {
        // No name of a socket or a host has a NUL in it; the system would end it there.
        if address.description.utf8.contains(0) { return -ENOENT }
        switch address {
        case .unix(let path):
            let descriptor = nacre_socket(AF_UNIX)
            guard descriptor >= 0 else { return -nacre_errno() }
            if withinMs > 0 { nacre_set_send_timeout(descriptor, withinMs) }
            // Proof: the string is lent as a C string for the call.
            guard unsafe nacre_connect_unix(descriptor, path) != 0 else { return descriptor }
            let code = nacre_errno()
            Glibc.close(descriptor)
            return -(code == EAGAIN ? ETIMEDOUT : code)
        case .inet(let host, let port, let options):
            var code: Int32 = 0
            // Proof: strings lent for the call, and one local integer.
            let descriptor = unsafe nacre_inet(
                host, port, options.familyNumber, options.isNumeric ? 1 : 0, 0, withinMs, &code)
            guard descriptor < 0 else {
                if options.keepsAlive { keepAlive(descriptor) }
                return descriptor
            }
            return code < 0 ? resolverErrors + code : -code
        case .descriptor(let number): return isStreamSocket(number) ? number : -ENOTSOCK
        }
    }

    private static func keepAlive(_ descriptor: Int32) {
        var one: Int32 = 1
        // Proof: four bytes of a local.
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &one, 4)
    }

    private static func opened(_ outcome: Int32, _ address: SocketAddress, on thread: IOThread) throws(OpenError)
        -> Socket
    {
        if outcome >= 0 { return Socket(outcome, on: thread) }
        if case .descriptor(let number) = address {
            throw OpenError("File descriptor '\(number)' is not a socket")
        }
        let reason = outcome < resolverErrors ? resolverText(outcome - resolverErrors) : errnoText(-outcome)
        throw OpenError("Failed to connect to '\(address)': \(reason)")
    }
}
