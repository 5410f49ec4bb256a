/// Tells when all requests that began before a moment have ended (rule O17): requests are counted by the generation
/// they began in, and a moment closes the current generation.
struct Generations {
    private var first: UInt64 = 0
    /// Requests under way, by generation from `first` on; the last is the current one.
    private var counts: [Int] = [0]

    mutating func begin() -> UInt64 {
        counts[counts.count - 1] += 1
        return first + UInt64(counts.count - 1)
    }

    mutating func end(_ generation: UInt64) {
        counts[Int(generation - first)] -= 1
        if generation == first { dropEnded() }
    }

    /// Closes the current generation and answers its number.
    mutating func close() -> UInt64 {
        let closed = first + UInt64(counts.count - 1)
        counts.append(0)
        dropEnded()
        return closed
    }

    /// Whether every request of that generation and of all before it has ended.
    func hasEnded(_ generation: UInt64) -> Bool { first > generation }

    private mutating func dropEnded() {
        while counts.count > 1, counts[0] == 0 {
            counts.removeFirst()
            first += 1
        }
    }
}
