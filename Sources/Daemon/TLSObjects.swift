import Block
import Graph
import QMPTypes
import TLS

/// The objects that connections are made private with, by their ids: credentials, and who may come in.
package final class TLSObjects {
    private enum Object {
        case credentials(TLSCredentials, type: ObjectType)
        case authorisation(Authorisation, type: ObjectType)
        /// Another kind of object.
        case other
    }

    private var objects: [String: Object] = [:]

    package init() {}

    func contains(_ id: String) -> Bool { objects[id] != nil }
    func remove(_ id: String) { objects[id] = nil }

    /// Notes an object that is neither.
    func noteOther(_ id: String) { objects[id] = .other }

    /// The type of an object of this kind.
    func type(of id: String) -> ObjectType? {
        switch objects[id] {
        case .credentials(_, let type), .authorisation(_, let type): type
        case .other, nil: nil
        }
    }

    var ids: [String] { objects.keys.filter { type(of: $0) != nil }.sorted() }

    // MARK: Making

    /// Makes the object, where it is one of these; false where it is not. `secret` tells one.
    func make(_ options: ObjectOptions, on host: any StorageOpener, secret: (String) -> [UInt8]?) throws(QMPError)
        -> Bool
    {
        do throws(OpenError) {
            switch options.variant {
            case .authzSimple(let properties):
                add(options, Authorisation([.init(properties.identity, isAllowed: true)], allowsOthers: false))
            case .authzList(let properties):
                let rules = (properties.rules ?? []).map {
                    Authorisation.Rule($0.match, isPattern: $0.format == .glob, isAllowed: $0.policy == .allow)
                }
                add(options, Authorisation(rules, allowsOthers: properties.policy == .allow))
            case .tlsCredsAnon(let properties):
                add(
                    options,
                    try .anonymous(for: .init(properties.endpoint), priority: try Self.whole(properties.priority)))
            case .tlsCredsPsk(let properties):
                add(
                    options,
                    try .sharedKeys(
                        in: try Self.folder(properties.dir, host), for: .init(properties.endpoint),
                        username: try Self.whole(properties.username) ?? "qemu",
                        priority: try Self.whole(properties.priority)))
            case .tlsCredsX509(let properties):
                var password: String?
                if let id = properties.passwordid {
                    guard let bytes = secret(id) else { throw OpenError("No secret with id '\(id)'") }
                    guard let text = String(validating: bytes, as: UTF8.self) else {
                        throw OpenError("Data from secret \(id) is not valid UTF-8")
                    }
                    password = try Self.whole(text)
                }
                add(
                    options,
                    try .certificates(
                        in: try Self.folder(properties.dir, host), for: .init(properties.endpoint),
                        verifiesPeer: properties.verifyPeer ?? true, password: password,
                        priority: try Self.whole(properties.priority)))
            default: return false
            }
        } catch { throw QMPError(error) }
        return true
    }

    /// A text that the library takes to its end.
    private static func whole(_ text: String?) throws(OpenError) -> String? {
        if let text, text.utf8.contains(0) { throw OpenError("a NUL ends what TLS is told") }
        return text
    }

    private func add(_ options: ObjectOptions, _ credentials: TLSCredentials) {
        objects[options.id] = .credentials(credentials, type: options.qomType)
    }

    private func add(_ options: ObjectOptions, _ authorisation: Authorisation) {
        objects[options.id] = .authorisation(authorisation, type: options.qomType)
    }

    private static func folder(_ name: String?, _ host: any StorageOpener) throws(OpenError) -> TLSFolder {
        guard let name = try whole(name) else { throw OpenError("Missing 'dir' property value") }
        return TLSFolder(name, at: PathText.absolute(name, from: host.workingFolder)) { (path) throws(OpenError) in
            try host.contents(of: path, atMost: TLSFolder.longestFile)
        }
    }

    // MARK: Using

    /// Credentials for one end of a connection, in QEMU's words where they cannot be had.
    func credentials(_ id: String, for endpoint: TLSCredentials.Endpoint) throws(OpenError) -> TLSCredentials {
        switch objects[id] {
        case nil: throw OpenError("No TLS credentials with id '\(id)'")
        case .other, .authorisation: throw OpenError("Object with id '\(id)' is not TLS credentials")
        case .credentials(let credentials, _):
            guard credentials.endpoint == endpoint else {
                throw OpenError("Expected TLS credentials for a \(endpoint.rawValue) endpoint")
            }
            return credentials
        }
    }

    /// How a server's connections are made private: `authorisation` is asked for the names in clients' certificates, and where it
    /// is not there any more nobody comes in.
    func server(_ id: String, authorisation: String?) throws(OpenError) -> (any ByteStream) -> any ByteStream {
        let credentials = try credentials(id, for: .server)
        // QEMU lets everybody in then.
        if authorisation != nil, !credentials.verifiesPeer {
            throw OpenError("TLS authorization needs the clients' certificates, which '\(id)' does not ask for")
        }
        let isAllowed = authorisation.map { id in
            { [weak self] (name: String) -> Bool in
                guard case .authorisation(let rules, _)? = self?.objects[id] else { return false }
                return rules.allows(name)
            }
        }
        return { TLSStream($0, serverOf: credentials, isAllowed: isAllowed) }
    }

    /// How connections to a server are made private.
    func client(_ id: String, hostname: String?) throws(OpenError) -> (any ByteStream) -> any ByteStream {
        let credentials = try credentials(id, for: .client)
        let hostname = try Self.whole(hostname)
        return { TLSStream($0, clientOf: credentials, hostname: hostname) }
    }
}

extension TLSCredentials.Endpoint {
    fileprivate init(_ endpoint: QCryptoTLSCredsEndpoint?) { self = endpoint == .server ? .server : .client }
}
