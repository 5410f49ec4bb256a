import Block
import HostIO
import HostStorage
import QMPTypes

/// The descriptors that one client passed and named; they go with its connection.
final class NamedDescriptors {
    private var byName: [String: Descriptor] = [:]

    /// Names of one client: it cannot use up the descriptors of the process.
    static let limit = 64

    /// Keeps a descriptor; one that had the name is closed.
    func keep(_ descriptor: Descriptor, as name: String) throws(QMPError) {
        guard byName[name] != nil || byName.count < Self.limit else {
            throw QMPError("All \(Self.limit) named file descriptors are in use")
        }
        byName[name] = descriptor
    }

    /// Gives a descriptor away.
    func take(_ name: String) -> Descriptor? { byName.removeValue(forKey: name) }
}

// The commands of Schema/descriptor.json.
extension Service {
    func getfd(_ arguments: GetfdArguments, from client: any QMPClient) async throws(QMPError) {
        let descriptor = try passed(client)
        if let first = arguments.fdname.utf8.first, (0x30...0x39).contains(first) {
            throw QMPError("Parameter 'fdname' expects a name not starting with a digit")
        }
        let key = ObjectIdentifier(client)
        let named = named[key] ?? NamedDescriptors()
        try named.keep(descriptor, as: arguments.fdname)
        self.named[key] = named
    }

    func closefd(_ arguments: ClosefdArguments, from client: any QMPClient) async throws(QMPError) {
        guard named[ObjectIdentifier(client)]?.take(arguments.fdname) != nil else {
            throw QMPError("File descriptor named '\(arguments.fdname)' not found")
        }
    }

    func addFd(_ arguments: AddFdArguments, from client: any QMPClient) async throws(QMPError) -> AddfdInfo {
        let descriptor = try passed(client)
        do throws(OpenError) {
            let set = try host.descriptorSets.add(descriptor, to: arguments.fdsetId, opaque: arguments.opaque)
            return AddfdInfo(fdsetId: set, fd: Int64(descriptor.number))
        } catch { throw QMPError(error) }
    }

    func removeFd(_ arguments: RemoveFdArguments) async throws(QMPError) {
        do { try host.descriptorSets.remove(arguments.fd, from: arguments.fdsetId) } catch { throw QMPError(error) }
    }

    func queryFdsets() async throws(QMPError) -> [FdsetInfo] {
        host.descriptorSets.sets.reversed().map { set in
            FdsetInfo(
                fdsetId: set.id,
                fds: set.entries.map { FdsetFdInfo(fd: Int64($0.descriptor.number), opaque: $0.opaque) })
        }
    }

    private func passed(_ client: any QMPClient) throws(QMPError) -> Descriptor {
        guard let number = client.takeDescriptor() else {
            throw QMPError("No file descriptor supplied via SCM_RIGHTS")
        }
        return Descriptor(owning: number)
    }

    // MARK: Clients

    func clientCame(_ client: any QMPClient) { clients += 1 }

    func clientLeft(_ client: any QMPClient) {
        named[ObjectIdentifier(client)] = nil
        clients -= 1
        if clients == 0 { host.descriptorSets.lastClientLeft() }
    }
}
