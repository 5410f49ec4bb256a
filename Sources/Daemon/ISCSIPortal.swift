import Block
import HostIO
import ISCSI
import QMPTypes

/// A place where iSCSI initiators connect: a listener and its server, shared by the targets that name the same address.
/// It lasts from its first target to its last.
final class ISCSIPortal {
    let address: HostIO.SocketAddress
    let server: ISCSIServer
    let listener: any StreamListener
    /// Targets that are there or being added.
    var users = 0

    init(_ address: HostIO.SocketAddress, _ server: ISCSIServer, _ listener: any StreamListener) {
        self.address = address
        self.server = server
        self.listener = listener
    }

    /// The standard's port, on this host alone (RFC 7143 section 13.3 registers the port).
    static let standard = HostIO.SocketAddress.inet(host: "127.0.0.1", port: "3260")
}

extension Service {
    /// The portal at an address, which listens from now on. Each `enter` is ended by a `leave`.
    func enterPortal(_ address: HostIO.SocketAddress) throws(QMPError) -> ISCSIPortal {
        if let portal = portals.first(where: { $0.address == address }) {
            portal.users += 1
            return portal
        }
        let listener: any StreamListener
        do { listener = try listen(on: address) } catch { throw QMPError(error) }
        let server = ISCSIServer(context: context, budget: budget)
        let portal = ISCSIPortal(address, server, listener)
        portal.users = 1
        portals.append(portal)
        context.spawn { [context] in
            await self.acceptAll(from: listener) { connection in
                // What discovery tells: the address that the initiator reached us by.
                let place = connection.localAddress ?? address.description
                context.spawn { await server.serve(connection, portal: "\(place),1") }
            }
        }
        return portal
    }

    func leavePortal(_ portal: ISCSIPortal) async {
        portal.users -= 1
        if portal.users == 0 { await closePortal(portal) }
    }

    /// Nobody connects any more, and the sessions that are left end.
    func closePortal(_ portal: ISCSIPortal) async {
        portals.removeAll { $0 === portal }
        portal.listener.close()
        await portal.server.stop()
    }
}
