import Bytes

/// A reproducible random source (SplitMix64): the same seed gives the same run, on every machine.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where the bound is 0.
    public mutating func below(_ bound: UInt64) -> UInt64 { bound == 0 ? 0 : next() % bound }

    public mutating func below(_ bound: Int) -> Int { Int(below(UInt64(max(bound, 0)))) }

    /// Whether an event of the given chance (out of 100) happens.
    public mutating func chance(_ percent: UInt64) -> Bool { below(100) < percent }

    /// One element of a list that is not empty.
    public mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }

    /// `count` bytes, none of which is zero, so that unwritten bytes are told from written ones.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        var words = [UInt8](repeating: 0, count: (count + 7) & ~7)
        words.withMutableBytes { span in
            for offset in stride(from: 0, to: span.byteCount, by: 8) {
                span.storeBytes(of: next() | 0x0101_0101_0101_0101, toByteOffset: offset, as: UInt64.self)
            }
        }
        return words.count == count ? words : Array(words.prefix(count))
    }

    /// A source of its own, so that one consumer's draws do not shift another's.
    public mutating func split() -> SeededRandom { SeededRandom(seed: next()) }
}
