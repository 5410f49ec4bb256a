import FoundationEssentials

/// The bytes of a qcow2 file, to look at and to damage. Offsets are those of the qcow2 specification's header table.
struct ImageBytes {
    private let path: String
    private(set) var bytes: [UInt8]

    init(_ path: String) throws {
        self.path = path
        bytes = Array(try Data(contentsOf: URL(filePath: path)))
    }

    func save() throws { try save(as: path) }

    func save(as path: String) throws { try Data(bytes).write(to: URL(filePath: path)) }

    /// The big-endian number of `width` bytes at `offset`.
    func number(at offset: Int, width: Int) -> UInt64 {
        bytes[offset..<offset + width].reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func set(_ value: UInt64, at offset: Int, width: Int) {
        for index in 0..<width { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * (width - 1 - index))) }
    }

    mutating func set(_ text: String, at offset: Int, padded width: Int) {
        let raw = Array(text.utf8)
        for index in 0..<width { bytes[offset + index] = index < raw.count ? raw[index] : 0 }
    }

    /// Makes the file longer, with zeros.
    mutating func append(_ count: Int) { bytes += [UInt8](repeating: 0, count: count) }

    mutating func truncate(to count: Int) { bytes.removeSubrange(min(count, bytes.count)...) }

    /// Sets one bit of the feature words at 72 (incompatible), 80 (compatible) or 88 (autoclear).
    mutating func setFeature(_ bit: Int, at offset: Int) {
        set(number(at: offset, width: 8) | 1 << UInt64(bit), at: offset, width: 8)
    }

    func hasFeature(_ bit: Int, at offset: Int) -> Bool { number(at: offset, width: 8) >> UInt64(bit) & 1 == 1 }

    var clusterSize: Int { 1 << Int(number(at: 20, width: 4)) }
    var l1Offset: Int { Int(number(at: 40, width: 8)) }

    /// Where the first L2 table stands, from the first L1 entry.
    var firstL2Offset: Int { Int(number(at: l1Offset, width: 8) & 0x00ff_ffff_ffff_fe00) }

    /// Where the header's extensions start.
    var extensions: Int { Int(number(at: 100, width: 4)) }

    /// The position of an extension of this type, or nil.
    func position(ofExtension type: UInt64) -> Int? {
        var at = extensions
        while at + 8 <= clusterSize {
            let found = number(at: at, width: 4)
            if found == type { return at }
            if found == 0 { return nil }
            at += 8 + (Int(number(at: at + 4, width: 4)) + 7) / 8 * 8
        }
        return nil
    }

    /// Puts an extension in front of the others.
    mutating func insertExtension(type: UInt64, content: [UInt8]) {
        let padded = (content.count + 7) / 8 * 8
        let moved = bytes[extensions..<clusterSize - 8 - padded]
        bytes.replaceSubrange(extensions + 8 + padded..<clusterSize, with: moved)
        set(type, at: extensions, width: 4)
        set(UInt64(content.count), at: extensions + 4, width: 4)
        for index in 0..<padded { bytes[extensions + 8 + index] = index < content.count ? content[index] : 0 }
    }
}
