public import Block
import Graph
public import HostIO
import NBDClient
import NBDWire
import QMPTypes

/// The exports of another server, as `qemu-nbd --list` tells them.
public enum NBDListing {
    /// How the connection is made private: by which credentials, of the objects that are made first, and whose the server's certificate
    /// must be where that is not the host's.
    public struct TLS: Sendable {
        let credentials: String
        let hostname: String?

        public init(credentials: String, hostname: String?) {
            self.credentials = credentials
            self.hostname = hostname
        }
    }

    /// Asks the server, and answers the text.
    public static func text(
        of address: HostIO.SocketAddress, objects: [String], tls: TLS?, asQEMU: Bool, on thread: IOThread
    ) async throws(OpenError) -> String {
        let host = HostOpener(thread)
        let graph = Graph(context: thread, Graph.Configuration(opener: host, backing: .ownFolder))
        let made: ToolObjects
        do { made = try ToolObjects(objects, in: graph, on: host, asQEMU: asQEMU) } catch {
            throw OpenError(error.message)
        }
        defer { withExtendedLifetime(made) {} }
        let secure: ((any ByteStream) -> any ByteStream)?
        do throws(OpenError) {
            secure = try tls.map { (tls) throws(OpenError) in
                try host.securing(with: tls.credentials, hostname: tls.hostname ?? address.hostname)
            }
        } catch { throw error.within("Failed to get TLS creds") }
        let socket = try Socket.connect(to: address, on: thread)
        let exports = try await NBDExportList.exports(over: secure.map { $0(socket) } ?? socket, in: thread)
        return text(of: exports)
    }

    static func text(of exports: [NBDExportInfo]) -> String {
        "exports available: \(exports.count)\n" + exports.map { text(of: $0) }.joined()
    }

    private static func text(of export: NBDExportInfo) -> String {
        var text = " export: '\(shown(export.name))'\n"
        if let description = export.description, !description.isEmpty {
            text += "  description: \(shown(description))\n"
        }
        if export.flags.contains(.hasFlags) {
            let names = Self.names.filter { export.flags.rawValue & 1 << $0.bit != 0 }.map { " " + $0.name }.joined()
            text += "  size:  \(export.size)\n"
            text += "  flags: 0x\(String(export.flags.rawValue, radix: 16)) (\(names) )\n"
        }
        if export.minimumBlock > 0 {
            text += "  min block: \(export.minimumBlock)\n  opt block: \(export.preferredBlock)\n"
            text += "  max block: \(export.maximumBlock)\n"
        }
        if !export.contexts.isEmpty {
            text += "  available meta contexts: \(export.contexts.count)\n"
            text += export.contexts.map { "   \(shown($0))\n" }.joined()
        }
        return text
    }

    /// By the bits of the transmission flags.
    private static let names: [(bit: UInt16, name: String)] = [
        (1, "readonly"), (2, "flush"), (3, "fua"), (4, "rotational"), (5, "trim"), (6, "zeroes"), (7, "df"),
        (8, "multi"),
        (9, "resize"), (10, "cache"), (11, "fast-zero"),
    ]

    /// What a server says goes to somebody's terminal: it gives no orders there.
    private static func shown(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) ? "?" : $0 }))
    }
}

extension HostIO.SocketAddress {
    /// The name that a connection is made to, where it has one.
    fileprivate var hostname: String? {
        guard case .inet(let host, _, _) = self else { return nil }
        return host
    }
}
