import Block
import Bytes

/// One header extension ("Header extensions" in the specification): a type, a length, data padded to 8 bytes.
public enum HeaderExtension: Equatable, Sendable {
    /// The backing file's format name.
    case backingFormat(String)
    /// Names of feature bits.
    case featureNames([FeatureName])
    /// Any other, bitmaps and encryption among them: its data as it is.
    case other(type: UInt32, data: [UInt8])

    public static let backingFormatType: UInt32 = 0xe279_2aca
    public static let featureNamesType: UInt32 = 0x6803_f857
    public static let bitmapsType: UInt32 = 0x2385_2875
    public static let encryptionType: UInt32 = 0x0537_be77
    public static let dataFileType: UInt32 = 0x4441_5441

    public var type: UInt32 {
        switch self {
        case .backingFormat: Self.backingFormatType
        case .featureNames: Self.featureNamesType
        case .other(let type, _): type
        }
    }

    /// The extension's data, without its 8-byte head and its padding.
    public var data: [UInt8] {
        switch self {
        case .backingFormat(let name): return Array(name.utf8)
        case .other(_, let data): return data
        case .featureNames(let names):
            var data: [UInt8] = []
            for name in names {
                let text = name.name.utf8.prefix(46)
                data.append(name.kind.rawValue)
                data.append(name.bit)
                data.append(contentsOf: text)
                data.append(contentsOf: repeatElement(0, count: 46 - text.count))
            }
            return data
        }
    }

    /// Reads the extensions from `start` up to `end`, where the header cluster's list must have ended at the latest.
    static func decodeList(_ bytes: RawSpan, from start: Int, to end: Int) throws(OpenError) -> [HeaderExtension] {
        var list: [HeaderExtension] = []
        var offset = start
        while end - offset >= 8 {
            let type = bytes.bigEndian(UInt32.self, at: offset)
            let length = bytes.bigEndian(UInt32.self, at: offset + 4)
            if type == 0 { return list }
            offset += 8
            guard UInt64(length) <= UInt64(end - offset) else { throw OpenError("Header extension too large") }
            guard list.count < Limits.headerExtensions else {
                throw OpenError("Header has more than \(Limits.headerExtensions) extensions")
            }
            let data = bytes.extracting(offset..<offset + Int(length))
            list.append(try decode(type: type, data))
            offset += (Int(length) + 7) & ~7
        }
        return list
    }

    private static func decode(type: UInt32, _ data: RawSpan) throws(OpenError) -> HeaderExtension {
        switch type {
        case backingFormatType:
            guard data.byteCount <= Limits.backingFormatBytes else {
                throw OpenError(
                    "ERROR: ext_backing_format: len=\(data.byteCount) too large (>=\(Limits.backingFormatBytes + 1))")
            }
            return .backingFormat(String(decoding: data.array, as: UTF8.self))
        case featureNamesType:
            return decodeNames(data) ?? .other(type: type, data: data.array)
        default:
            return .other(type: type, data: data.array)
        }
    }

    /// What can be read of a table of names that is not kept as one: up to the first without a name; the last may be cut off.
    static func legibleNames(_ data: [UInt8]) -> [FeatureName] {
        var names: [FeatureName] = []
        var rest = data[...]
        while rest.count > 2 {
            let entry = Array(rest.prefix(48))
            rest = rest.dropFirst(48)
            let text = entry.dropFirst(2).prefix { $0 != 0 }
            if text.isEmpty { break }
            guard let kind = FeatureName.Kind(rawValue: entry[0]), entry[1] < 64 else { continue }
            names.append(FeatureName(kind: kind, bit: entry[1], name: String(decoding: text, as: UTF8.self)))
        }
        return names
    }

    /// The table of names, or nil where decoding would lose something, so that it is kept as it is.
    private static func decodeNames(_ data: RawSpan) -> HeaderExtension? {
        guard data.byteCount % 48 == 0 else { return nil }
        var names: [FeatureName] = []
        for start in stride(from: 0, to: data.byteCount, by: 48) {
            guard let kind = FeatureName.Kind(rawValue: data.byte(at: start)), data.byte(at: start + 1) < 64 else {
                return nil
            }
            let text = data.extracting(start + 2..<start + 48).array.prefix { $0 != 0 }
            names.append(
                FeatureName(kind: kind, bit: data.byte(at: start + 1), name: String(decoding: text, as: UTF8.self)))
        }
        let result = HeaderExtension.featureNames(names)
        return result.data.elementsEqual(data.array) ? result : nil
    }
}
