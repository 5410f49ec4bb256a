import BlockTestKit
import Bytes

/// What a machine's state may read as, now and after a crash: of each sector that was saved the last value that is durable,
/// or one that was saved since. What lay there before is not known, and neither is anything once the disk gets another size.
public struct VMStateOracle: Sendable {
    /// Nil stands for what is not known.
    private var histories: [UInt64: ValueHistory<[UInt8]?>] = [:]
    private var completions: UInt64 = 0

    public init() {}

    /// The sectors that were saved.
    var sectors: [UInt64] { histories.keys.sorted() }

    mutating func issue(_ request: UInt64, _ bytes: [UInt8], at offset: UInt64) {
        for index in 0..<bytes.count / 512 {
            let sector = offset / 512 + UInt64(index)
            histories[sector, default: ValueHistory(nil)].issue(
                request, [Array(bytes[index * 512..<index * 512 + 512])])
        }
    }

    mutating func complete(_ request: UInt64) {
        completions += 1
        for sector in histories.keys { histories[sector]?.complete(request, at: completions) }
    }

    mutating func fail(_ request: UInt64) {
        completions += 1
        for sector in histories.keys { histories[sector]?.fail(request, at: completions) }
    }

    /// Where a flush stands that is issued now.
    var flushPoint: UInt64 { completions }

    /// The flush that was issued at this point has succeeded.
    mutating func flushed(_ point: UInt64) {
        for sector in histories.keys { histories[sector]?.harden(upTo: point) }
    }

    /// All that has ended is durable: the image was closed.
    mutating func closed() { flushed(completions) }

    mutating func forget() { histories = [:] }

    /// What is wrong about what was found after a crash, or nil.
    func judge(afterCrash found: [UInt64: [UInt8]]) -> Violation? {
        judge(found) { history, bytes in history.allows { $0.map { $0 == bytes } ?? true } }
    }

    /// What is wrong about what a reader sees now, or nil; nothing is being saved.
    func observe(_ found: [UInt64: [UInt8]]) -> Violation? {
        judge(found) { history, bytes in history.current.contains { $0.map { $0 == bytes } ?? true } }
    }

    private func judge(
        _ found: [UInt64: [UInt8]], _ fits: (ValueHistory<[UInt8]?>, [UInt8]) -> Bool
    ) -> Violation? {
        let zeros = [UInt8](repeating: 0, count: 512)
        for sector in sectors {
            guard let history = histories[sector], !fits(history, found[sector] ?? zeros) else { continue }
            let kind = history.isSettled ? Violation.Kind.lost : .thirdValue
            return Violation("sector \(sector) of the VM state is not what was saved", kind)
        }
        return nil
    }
}

extension MiniCheck {
    /// What of a machine's state has a place in the image, as ranges of it.
    var vmStateRanges: [ByteRange] {
        // What an L2 table maps; entries of subclusters take 16 bytes.
        let coverage = clusterSize / (subclusters > 1 ? 16 : 8) * clusterSize
        guard !hasDataFile, let start = (size & ~511).roundedUp(to: coverage) else { return [] }
        return mapped.keys.sorted().filter { $0 * subclusterSize >= start }.map {
            ByteRange(at: $0 * subclusterSize - start, count: subclusterSize)
        }
    }
}
