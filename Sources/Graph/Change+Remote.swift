import Block
import NBDClient

extension Change {
    /// Opens a remote export. Nothing but what a user names comes here: names in images are plain file names.
    func openRemote(_ own: NBDRemoteOptions, _ options: NodeOptions, _ flags: NodeFlags, _ place: OpenPlace)
        async throws(OpenError) -> NodeID
    {
        let remote = try await reach(own)
        do throws(OpenError) {
            if remote.isReadOnly, !flags.isReadOnly, !flags.autoReadOnly {
                throw OpenError("Could not open image: Permission denied", cause: .permission)
            }
            let id = try add(options, place)
            value.nodes[id]?.fellBack = remote.isReadOnly && !flags.isReadOnly
            register(id, .remote(remote), value.flags(of: id))
            return id
        } catch {
            await remote.close()
            throw error
        }
    }

    /// Connects. What the server says beside the error is a hint for people, as in QEMU.
    func reach(_ own: NBDRemoteOptions) async throws(OpenError) -> NBDRemote {
        let graph = graph
        let opener = graph.configuration.opener
        do throws(OpenError) {
            let secure = try own.tlsCredentials.map { (id) throws(OpenError) in
                try opener.securing(with: id, hostname: own.expectedHost)
            }
            return try await NBDRemote.open(
                own, in: graph.context, isWanted: { !graph.isGivingUp },
                dial: { (ms) async throws(OpenError) in
                    let stream = try await opener.dial(own.server, withinMs: ms)
                    return secure.map { $0(stream) } ?? stream
                })
        } catch {
            let lines = error.message.split(separator: "\n", maxSplits: 1).map { String($0) }
            throw OpenError(lines[0], cause: error.cause, hint: lines.count == 2 ? lines[1] : error.hint)
        }
    }

    /// A reopen cannot make writable what the server lets nobody write; `auto-read-only` leaves it as it is.
    func planRemoteAccess(_ id: NodeID, _ flags: NodeFlags) throws(OpenError) {
        guard case .remote(let remote)? = live(id)?.driver, remote.isReadOnly, !flags.isReadOnly else { return }
        guard flags.autoReadOnly else {
            throw OpenError("Can't reopen read-only NBD mount as read/write", cause: .permission)
        }
        value.nodes[id]?.fellBack = true
    }
}

extension Graph {
    /// Whether a node's connections are made private with these credentials.
    public func usesTLS(_ credentials: String) -> Bool {
        value.nodes.values.contains {
            guard case .nbd(let own) = $0.driver else { return false }
            return own.tlsCredentials == credentials
        }
    }
}

extension NBDRemoteOptions {
    /// The options that say what is opened, flat, as they stand in a file name.
    var flat: [(key: String, value: String, isText: Bool)] {
        var members: [(key: String, value: String, isText: Bool)] = []
        switch server {
        case .unix(let path):
            members += [("server.type", "unix", true), ("server.path", path, true)]
        case .inet(let inet):
            members += [("server.type", "inet", true), ("server.host", inet.host, true)]
            members.append(("server.port", inet.port, true))
            let switches = [
                ("server.ipv4", inet.ipv4), ("server.ipv6", inet.ipv6), ("server.numeric", inet.isNumeric),
                ("server.keep-alive", inet.keepsAlive),
            ]
            for case (let key, let value?) in switches { members.append((key, "\(value)", false)) }
        case .descriptor(let number):
            members += [("server.type", "fd", true), ("server.str", "\(number)", true)]
        }
        if let export { members.append(("export", export, true)) }
        if let tlsCredentials { members.append(("tls-creds", tlsCredentials, true)) }
        if let tlsHostname { members.append(("tls-hostname", tlsHostname, true)) }
        return members
    }
}
