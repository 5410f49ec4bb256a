import Bytes
import NBDWire

/// One option as a client sends it.
func option(_ number: UInt32, _ data: [UInt8] = [], claiming length: UInt32? = nil) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(NBDMagic.option)
    bytes.appendBigEndian(number)
    bytes.appendBigEndian(length ?? UInt32(data.count))
    return bytes + data
}

/// A string with its 32-bit length before it.
func counted(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(UInt32(text.utf8.count))
    return bytes + Array(text.utf8)
}

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

/// One reply to an option.
struct OptionReply: Equatable {
    var code: UInt32
    var data: [UInt8]
    var isError: Bool { code >> 31 == 1 }
}
