import Bytes

extension SimDisk {
    /// Which of the changes that are not durable yet a crash keeps.
    public enum CrashChoice: Sendable {
        case durableOnly
        case everything
        /// Each pending change with even chance, and of one of those kept only some sectors.
        case random(seed: UInt64)
    }

    /// The disk that a machine finds which lost power now.
    public func crashImage(_ choice: CrashChoice) -> SparseBytes {
        let now = snapshot
        switch choice {
        case .durableOnly: return now.durable
        case .everything: return now.image(keeping: Array(now.pending.indices))
        case .random(let seed):
            var random = SeededRandom(seed: seed)
            let kept = now.pending.indices.filter { _ in random.chance(50) }
            guard !kept.isEmpty, random.chance(60) else { return now.image(keeping: kept) }
            let torn = random.pick(kept)
            return now.image(keeping: kept, torn: now.tear(torn, &random).map { [torn: $0] } ?? [:])
        }
    }

    /// `count` crash states: nothing more than durable, everything, and random ones between.
    public func crashImages(_ count: Int, seed: UInt64) -> [SparseBytes] {
        var random = SeededRandom(seed: seed)
        var choices: [CrashChoice] = [.durableOnly, .everything]
        while choices.count < count { choices.append(.random(seed: random.next())) }
        return choices.prefix(count).map(crashImage)
    }

    /// Completed changes in the order they completed, then those under way in the order they were issued.
    static func inOrder(_ left: Operation, _ right: Operation) -> Bool {
        (left.completion ?? .max, left.id) < (right.completion ?? .max, right.id)
    }

    /// Puts a change, or the sectors of it that count, on an image.
    func apply(_ operation: Operation, to image: inout SparseBytes) {
        Self.apply(operation, options.sectorSize, to: &image)
    }

    static func apply(_ operation: Operation, _ sectorSize: UInt64, to image: inout SparseBytes) {
        if case .resize(let length) = operation.change { return image.resize(to: length) }
        guard let sectors = operation.sectors else { return apply(operation, operation.range, to: &image) }
        for sector in sectors.sorted() {
            let whole = ByteRange(at: sector * sectorSize, count: sectorSize)
            let part = whole.intersection(operation.range)
            if !part.isEmpty { apply(operation, part, to: &image) }
        }
    }

    private static func apply(_ operation: Operation, _ part: ByteRange, to image: inout SparseBytes) {
        switch operation.change {
        case .write(let bytes):
            let from = Int(part.start - operation.range.start)
            image.write(bytes.rawBytes.extracting(from..<from + Int(part.count)), at: part.start)
        case .zero:
            if part.end > image.length { image.resize(to: part.end) }
            image.zero(part)
        case .discard:
            image.zero(part)
        case .resize:
            break
        }
    }

    /// Some of the sectors that a range touches.
    static func someSectors(of range: ByteRange, _ size: UInt64, _ random: inout SeededRandom) -> Set<UInt64> {
        guard !range.isEmpty else { return [] }
        let (first, last) = (range.start / size, (range.end - 1) / size)
        let total = last - first + 1
        if total > 64 || random.chance(50) {
            // A run: what a device had got to when it stopped, from either end.
            let count = random.below(total)
            return random.chance(50) ? Set(first..<first + count) : Set(last + 1 - count..<last + 1)
        }
        return Set((first...last).filter { _ in random.chance(50) })
    }
}
