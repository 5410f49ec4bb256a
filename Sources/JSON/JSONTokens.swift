/// The tokens of one value: kinds and ends over one buffer of bytes, so that a message of nothing but punctuation costs
/// a few bytes a token.
struct JSONTokens: Sendable {
    private var kinds: [JSONTokenKind] = []
    private var ends: [Int] = []
    private var bytes: [UInt8] = []

    /// A buffer above this is given back: a monitor lives long, and a large message is rare.
    private static let keptBytes = 64 << 10

    var count: Int { kinds.count }
    var byteCount: Int { bytes.count }
    var isEmpty: Bool { kinds.isEmpty }

    mutating func append(_ token: JSONToken) {
        kinds.append(token.kind)
        bytes.append(contentsOf: token.bytes)
        ends.append(bytes.count)
    }

    mutating func removeAll() {
        let keeps = bytes.capacity <= Self.keptBytes
        kinds.removeAll(keepingCapacity: keeps)
        ends.removeAll(keepingCapacity: keeps)
        bytes.removeAll(keepingCapacity: keeps)
    }

    func kind(_ position: Int) -> JSONTokenKind? { position < kinds.count ? kinds[position] : nil }

    func text(_ position: Int) -> ArraySlice<UInt8> {
        bytes[(position == 0 ? 0 : ends[position - 1])..<ends[position]]
    }
}
