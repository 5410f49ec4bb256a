public import Block
import Bytes
public import HostIO
import NBDWire
import Streams

/// The exports of another server, as `qemu-nbd --list` tells them.
public enum NBDListing {
    /// Asks the server, and answers the text.
    public static func text(of address: HostIO.SocketAddress, on thread: IOThread) async throws(OpenError) -> String {
        let socket = try Socket.connect(to: address, on: thread)
        defer { socket.close() }
        var negotiation = NBDClientNegotiation(.list)
        // Longer than any message of the handshake.
        var buffer = AlignedBuffer(byteCount: 128 << 10)
        var count = 0
        while negotiation.state == .underWay {
            let (consumed, reply) = negotiation.receive(buffer.bytes.extracting(0..<count))
            if consumed > 0 {
                let rest = buffer.bytes.extracting(consumed..<count).array
                var whole = buffer.mutableBytes
                for (index, byte) in rest.enumerated() {
                    whole.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
                }
                count = rest.count
            }
            do throws(BlockError) {
                if !reply.isEmpty { try await socket.send(reply.byteSpan) }
                guard consumed == 0, negotiation.state == .underWay else { continue }
                var whole = buffer.mutableBytes
                var room = whole._mutatingExtracting(count..<whole.byteCount)
                let got = try await socket.receive(into: &room)
                guard got > 0 else { throw .closed }
                count += got
            } catch {
                let reason =
                    error == .closed ? "Unexpected end-of-file before all data were read" : error.sentence
                throw OpenError("Failed to read \(negotiation.awaited): \(reason)", cause: error)
            }
        }
        if case .failed(let failure) = negotiation.state { throw OpenError(failure.message) }
        return text(of: negotiation.exports)
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
