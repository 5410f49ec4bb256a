import Bytes
import NBDWire

/// One option as a client sends it; `length` is what it claims, where that is not the truth.
func option(_ number: UInt32, _ data: [UInt8] = [], claiming length: UInt32? = nil) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(NBDMagic.option)
    bytes.appendBigEndian(number)
    bytes.appendBigEndian(length ?? UInt32(data.count))
    return bytes + data
}

func option(_ kind: NBDOption, _ data: [UInt8] = []) -> [UInt8] { option(kind.rawValue, data) }

/// A string with its 32-bit length before it.
func counted(_ text: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(UInt32(text.count))
    return bytes + text
}

func counted(_ text: String) -> [UInt8] { counted(Array(text.utf8)) }

/// The data of INFO and GO.
func infoData(_ name: String, _ requests: [UInt16] = []) -> [UInt8] {
    var bytes = counted(name)
    bytes.appendBigEndian(UInt16(requests.count))
    for request in requests { bytes.appendBigEndian(request) }
    return bytes
}

/// The data of LIST_META_CONTEXT and SET_META_CONTEXT.
func contextData(_ name: String, _ queries: [String]) -> [UInt8] {
    var bytes = counted(name)
    bytes.appendBigEndian(UInt32(queries.count))
    for query in queries { bytes += counted(query) }
    return bytes
}

/// One reply to an option, as a client reads it.
struct OptionReply: Equatable {
    var option: UInt32
    var code: UInt32
    var data: [UInt8]

    var isError: Bool { code >> 31 == 1 }
    /// The message of an error; nil where it is not valid UTF-8.
    var text: String? { String(validating: data, as: UTF8.self) }

    /// The replies that `bytes` hold; nil where they are not whole replies, one behind the other.
    static func all(_ bytes: [UInt8]) -> [OptionReply]? {
        var result: [OptionReply] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            guard rest.count >= 20 else { return nil }
            let head = Array(rest.prefix(20))
            let length = Int(head.byteSpan.bigEndian(UInt32.self, at: 16))
            guard head.byteSpan.bigEndian(UInt64.self, at: 0) == 0x0003_E889_0455_65A9, rest.count >= 20 + length else {
                return nil
            }
            result.append(
                OptionReply(
                    option: head.byteSpan.bigEndian(at: 8), code: head.byteSpan.bigEndian(at: 12),
                    data: Array(rest.dropFirst(20).prefix(length))))
            rest = rest.dropFirst(20 + length)
        }
        return result
    }
}

/// A negotiation and the bytes that it was shown and did not take yet, as a session keeps them.
struct Handshake {
    var negotiation: NBDNegotiation
    var exports: [NBDExportInfo]
    private(set) var waiting: [UInt8] = []

    /// With the client's flags already received; nil leaves them to the test.
    init(_ exports: [NBDExportInfo] = Handshake.exports, flags: UInt32? = 3, needsTLS: Bool = false) {
        self.exports = exports
        negotiation = NBDNegotiation(needsTLS: needsTLS)
        guard let flags else { return }
        var bytes: [UInt8] = []
        bytes.appendBigEndian(flags)
        _ = send(bytes)
    }

    /// Everything that is answered to these bytes.
    mutating func send(_ bytes: [UInt8]) -> [UInt8] {
        waiting += bytes
        var answer: [UInt8] = []
        while true {
            let shown = waiting
            let (consumed, reply) = negotiation.receive(shown.byteSpan, exports: exports)
            answer += reply
            if consumed == 0 { return answer }
            waiting.removeFirst(consumed)
        }
    }

    /// The replies to one option.
    mutating func ask(_ kind: NBDOption, _ data: [UInt8] = []) -> [OptionReply] {
        OptionReply.all(send(option(kind, data))) ?? []
    }

    static let exports = [
        NBDExportInfo(
            name: "disk", description: "the first", size: 10 << 20, flags: [.hasFlags, .sendFlush, .sendDF],
            minimumBlock: 512, preferredBlock: 65536, contexts: ["base:allocation", "qemu:allocation-depth"]),
        NBDExportInfo(name: "", size: 4096, flags: [.hasFlags, .readOnly], contexts: ["base:allocation"]),
    ]
}
