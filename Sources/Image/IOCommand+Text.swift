import Block
import Bytes

// What the tool prints.
extension IOCommand {
    /// How much was done in how much time.
    func figures(ns: UInt64) -> String {
        if options.isQuiet { return "" }
        let seconds = Double(ns) / 1e9
        let bytes = Double(count)
        if options.isTerse {
            return
                "\(count),1,\(Self.clock(seconds)),\(Self.fixed(bytes / seconds, 3)),\(Self.fixed(1 / seconds, 3))\n"
        }
        let verb =
            switch operation {
            case .read: "read"
            case .write: "wrote"
            case .discard: "discard"
            default: name
            }
        return "\(verb) \(count)/\(count) bytes at offset \(offset)\n"
            + "\(Self.scaled(bytes)), 1 ops; \(Self.duration(seconds)) "
            + "(\(Self.scaled(bytes / seconds))/sec and \(Self.fixed(1 / seconds, 4)) ops/sec)\n"
    }

    /// A number of bytes with three decimals, unless they are zeros, and its unit: `1.500 KiB`, `64 KiB`, `0 bytes`.
    static func scaled(_ bytes: Double) -> String {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        guard bytes >= 1024 else {
            let text = fixed(bytes, 6)
            return (text.contains(".000") ? String(text.prefix { $0 != "." }) : text) + " bytes"
        }
        var value = bytes / 1024
        var unit = 0
        while value >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        let text = fixed(value, 3)
        return (text.hasSuffix(".000") ? String(text.dropLast(4)) : text) + " " + units[unit]
    }

    /// `00.01 sec`, from a minute on `1:02.03`, from an hour on `1:02:03.04`.
    static func duration(_ seconds: Double) -> String {
        guard seconds >= 60 else {
            let text = fixed(seconds, 2)
            return (text.count < 5 ? "0" : "") + text + " sec"
        }
        if seconds >= 3600 { return clock(seconds) }
        let hundredths = UInt64(seconds * 100)
        return "\(hundredths / 6000):\(padded(hundredths / 100 % 60, 2)).\(padded(hundredths % 100, 2))"
    }

    /// `0:00:00.01`.
    static func clock(_ seconds: Double) -> String {
        let hundredths = UInt64(seconds * 100)
        let minutes = hundredths / 6000
        return "\(minutes / 60):\(padded(minutes % 60, 2)):\(padded(hundredths / 100 % 60, 2))."
            + padded(hundredths % 100, 2)
    }

    /// Why it failed. What passes the end the tool's own layer refuses.
    func failure(_ error: BlockError) -> String {
        let reason = error == .outOfRange ? BlockError.io.sentence : error.sentence
        switch operation {
        case .length: return "getlength: \(error.sentence)\n"
        case .map: return "Failed to get allocation status: \(error.sentence)\n"
        case .alloc: return "is_allocated failed: \(error.sentence)\n"
        // The tool calls it so.
        case .read where isAsynchronous: return "readv failed: \(reason)\n"
        default: return "\(name) failed: \(reason)\n"
        }
    }

    /// What the pattern is looked for in.
    var expected: ByteRange {
        ByteRange(
            at: offset + options.patternOffset,
            count: options.patternCount ?? (count - min(count, options.patternOffset)))
    }

    var missed: String {
        "Pattern verification failed at offset \(expected.start), \(expected.count) bytes\n"
    }

    /// C's `%.Nf` for what is not negative.
    static func fixed(_ value: Double, _ decimals: Int) -> String {
        var scale: UInt64 = 1
        for _ in 0..<decimals { scale *= 10 }
        let scaled = (value * Double(scale)).rounded(.toNearestOrEven)
        guard scaled < 0x1p63 else { return String(UInt64(min(value, 0x1p63))) + "." + padded(0, decimals) }
        let digits = UInt64(scaled)
        return "\(digits / scale).\(padded(digits % scale, decimals))"
    }

    private static func padded(_ value: UInt64, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }

    /// Sixteen bytes a line, in figures and as far as they are letters or digits.
    static func dump(_ bytes: [UInt8], at offset: UInt64) -> String {
        var text = ""
        for start in stride(from: 0, to: bytes.count, by: 16) {
            let row = bytes[start..<min(start + 16, bytes.count)]
            text += hex(offset + UInt64(start), 8) + ":  "
            for byte in row { text += hex(UInt64(byte), 2) + " " }
            text +=
                " " + String(decoding: row.map { isAlphanumeric($0) ? $0 : UInt8(ascii: ".") }, as: UTF8.self) + "\n"
        }
        return text
    }

    private static func hex(_ value: UInt64, _ width: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: false
        }
    }
}
