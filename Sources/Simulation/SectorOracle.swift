import BlockTestKit
public import Bytes

/// What each sector of a guest's disk may read as, now and after a crash: promises D1 and D2.
///
/// Told of each request of the client when it is issued and when it has ended. Requests that touch one sector do not
/// overlap in time; the runner sees to that.
public struct SectorOracle: Sendable {
    public static let sectorSize: UInt64 = 512

    /// Contents of sectors, numbered: a number stands for the same bytes in all copies of an oracle.
    private struct Contents: Sendable {
        var bytes: [[UInt8]] = [[UInt8](repeating: 0, count: 512)]
        var numbers: [[UInt8]: Int32] = [[UInt8](repeating: 0, count: 512): 0]

        mutating func number(_ sector: [UInt8]) -> Int32 {
            if let known = numbers[sector] { return known }
            numbers[sector] = Int32(bytes.count)
            bytes.append(sector)
            return Int32(bytes.count - 1)
        }

        /// Whether a sector of a disk holds the value; the last one may be cut off.
        func matches(_ value: Int32, _ disk: [UInt8], _ index: Int) -> Bool {
            let found = disk.rawBytes.extracting(index * 512..<min(index * 512 + 512, disk.count))
            let wanted = bytes[Int(value)]
            return wanted.rawBytes.extracting(0..<found.byteCount).isSame(as: found)
        }
    }

    private var contents = Contents()
    private var sectors: [ValueHistory<Int32>] = []
    private var lengths: ValueHistory<UInt64>
    private var completions: UInt64 = 0

    /// A disk whose bytes are durable.
    public init(_ bytes: [UInt8]) {
        lengths = ValueHistory(UInt64(bytes.count))
        for start in stride(from: 0, to: bytes.count, by: 512) {
            var sector = Array(bytes[start..<min(start + 512, bytes.count)])
            sector += [UInt8](repeating: 0, count: 512 - sector.count)
            sectors.append(ValueHistory(contents.number(sector)))
        }
    }

    /// The length that the client was told last.
    public var length: UInt64 { lengths.current[0] }

    // MARK: the client's requests

    public enum Change: Sendable {
        case write([UInt8])
        case zero
        /// Zeros or what was there, sector by sector.
        case discard
    }

    public mutating func issue(_ request: UInt64, _ change: Change, _ range: ByteRange) {
        for index in indices(range) {
            let old = sectors[index].current
            let sector = ByteRange(at: UInt64(index) * Self.sectorSize, count: Self.sectorSize)
            let part = sector.intersection(range)
            var new = old.map { value($0, with: change, part, of: sector, from: range) }
            if case .discard = change { new += old }
            sectors[index].issue(request, Array(Set(new)))
        }
    }

    private mutating func value(
        _ old: Int32, with change: Change, _ part: ByteRange, of sector: ByteRange, from range: ByteRange
    ) -> Int32 {
        var bytes = contents.bytes[Int(old)]
        let (first, count) = (Int(part.start - sector.start), Int(part.count))
        switch change {
        case .write(let source):
            let from = Int(part.start - range.start)
            bytes.replaceSubrange(first..<first + count, with: source[from..<from + count])
        case .zero, .discard:
            bytes.replaceSubrange(first..<first + count, with: repeatElement(0, count: count))
        }
        return contents.number(bytes)
    }

    public mutating func complete(_ request: UInt64, _ range: ByteRange, isDurable: Bool) {
        completions += 1
        for index in indices(range) {
            sectors[index].complete(request, at: completions)
            if isDurable { sectors[index].harden(request) }
        }
    }

    public mutating func fail(_ request: UInt64, _ range: ByteRange) {
        completions += 1
        for index in indices(range) { sectors[index].fail(request, at: completions) }
    }

    /// Where a flush stands that is issued now.
    public var flushPoint: UInt64 { completions }

    /// The flush that was issued at this point has succeeded.
    public mutating func flushed(_ point: UInt64) {
        for index in sectors.indices { sectors[index].harden(upTo: point) }
        lengths.harden(upTo: point)
    }

    /// A resize begins; nothing else is under way. What a disk loses and gains again reads as zeros.
    public mutating func issueResize(_ request: UInt64, to length: UInt64) {
        lengths.issue(request, [length])
        let whole = UInt64(sectors.count) * Self.sectorSize
        if length < whole { issue(request, .zero, ByteRange(from: length, to: whole)) }
        while UInt64(sectors.count) * Self.sectorSize < length { sectors.append(ValueHistory(0)) }
    }

    public mutating func endResize(_ request: UInt64, hasFailed: Bool) {
        completions += 1
        for index in sectors.indices {
            if hasFailed {
                sectors[index].fail(request, at: completions)
            } else {
                sectors[index].complete(request, at: completions)
            }
        }
        if hasFailed { lengths.fail(request, at: completions) } else { lengths.complete(request, at: completions) }
    }

    /// All that has ended is durable: the image was closed.
    public mutating func closed() { flushed(completions) }

    /// The length that the disk has after a resize that failed.
    public mutating func observe(length: UInt64) { lengths.settle(length) }

    // MARK: judging

    /// What is wrong about a disk found after a crash, or nil.
    public func judge(afterCrash bytes: [UInt8]) -> Violation? {
        guard lengths.allows(where: { $0 == UInt64(bytes.count) }) else {
            return Violation("its length is \(bytes.count)", lengths.isSettled ? .lost : .thirdValue)
        }
        for index in 0..<min(sectors.count, (bytes.count + 511) / 512)
        where !sectors[index].allows(where: { contents.matches($0, bytes, index) }) {
            let found = bytes[index * 512..<min(index * 512 + 512, bytes.count)]
            return Violation(
                "sector \(index): \(describe(found)), allowed \(describe(sectors[index].allowed))",
                sectors[index].isSettled ? .lost : .thirdValue)
        }
        return nil
    }

    /// What is wrong about what a reader sees now, or nil; no change of the range is under way. Values that were open are
    /// then known.
    public mutating func observe(_ bytes: [UInt8], at offset: UInt64) -> Violation? {
        let range = ByteRange(at: offset, count: UInt64(bytes.count))
        for index in indices(range) {
            let sector = ByteRange(at: UInt64(index) * Self.sectorSize, count: Self.sectorSize)
            let part = sector.intersection(range)
            let (first, from, count) = (Int(part.start - sector.start), Int(part.start - offset), Int(part.count))
            let found = bytes[from..<from + count]
            let fitting = sectors[index].current.filter { contents.bytes[Int($0)][first..<first + count] == found }
            guard !fitting.isEmpty else {
                return Violation(
                    "sector \(index) reads \(describe(found)), must be \(describe(Set(sectors[index].current)))",
                    sectors[index].isSettled ? .lost : .thirdValue)
            }
            if fitting.count == 1 { sectors[index].settle(fitting[0]) }
        }
        return nil
    }

    private func indices(_ range: ByteRange) -> Range<Int> {
        guard !range.isEmpty else { return 0..<0 }
        let last = min(UInt64(sectors.count), (range.end + Self.sectorSize - 1) / Self.sectorSize)
        return Int(min(range.start / Self.sectorSize, last))..<Int(last)
    }

    private func describe(_ sector: some Collection<UInt8>) -> String {
        if sector.allSatisfy({ $0 == 0 }) { return "zeros" }
        return sector.prefix(8).map { String($0, radix: 16) }.joined(separator: " ") + "…"
    }

    private func describe(_ values: Set<Int32>) -> String {
        "[" + values.sorted().map { describe(contents.bytes[Int($0)]) }.joined(separator: ", ") + "]"
    }
}
