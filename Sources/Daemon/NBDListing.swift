public import Block
public import HostIO
import NBDClient
import NBDWire

/// The exports of another server, as `qemu-nbd --list` tells them.
public enum NBDListing {
    /// Asks the server, and answers the text.
    public static func text(of address: HostIO.SocketAddress, on thread: IOThread) async throws(OpenError) -> String {
        let socket = try Socket.connect(to: address, on: thread)
        return text(of: try await NBDExportList.exports(over: socket, in: thread))
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
