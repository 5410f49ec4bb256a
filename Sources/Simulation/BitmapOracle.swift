public import BlockTestKit
import Bytes

/// What the bitmaps of the top image must have marked (D6): of each the granules that changed while it recorded, since it
/// was made or cleared. A bitmap that the image calls consistent has them all; one that is marked as in use promises nothing.
public struct BitmapOracle: Sendable {
    private struct Known: Sendable {
        let granularityBits: UInt64
        var isEnabled: Bool
        var changed: Set<UInt64>
    }

    private var known: [String: Known] = [:]

    /// Of an image that has none.
    public init() {}

    /// Of an image as it was closed. A bitmap that was in use then is never to be trusted again.
    public init(_ image: MiniCheck) {
        for bitmap in image.bitmaps where !bitmap.isInUse {
            known[bitmap.name] = Known(
                granularityBits: bitmap.granularityBits, isEnabled: bitmap.isAuto, changed: bitmap.dirty)
        }
    }

    /// A request that changes the range was issued.
    mutating func changed(_ range: ByteRange) {
        guard !range.isEmpty else { return }
        for (name, bitmap) in known where bitmap.isEnabled {
            known[name]?.changed.formUnion(
                range.start >> bitmap.granularityBits...(range.end - 1) >> bitmap.granularityBits)
        }
    }

    mutating func resized(to length: UInt64) {
        for (name, bitmap) in known {
            known[name]?.changed = bitmap.changed.filter { $0 << bitmap.granularityBits < length }
        }
    }

    mutating func added(_ name: String, granularityBits: Int, isEnabled: Bool) {
        known[name] = Known(granularityBits: UInt64(granularityBits), isEnabled: isEnabled, changed: [])
    }

    mutating func merged(_ name: String, from other: String, length: UInt64) {
        guard let target = known[name], let source = known[other] else { return }
        for granule in source.changed {
            let start = granule << source.granularityBits
            let end = min(length, (granule + 1) << source.granularityBits)
            guard start < end else { continue }
            known[name]?.changed.formUnion(start >> target.granularityBits...(end - 1) >> target.granularityBits)
        }
    }

    mutating func removed(_ name: String) { known[name] = nil }
    mutating func cleared(_ name: String) { known[name]?.changed = [] }
    mutating func set(_ name: String, isEnabled: Bool) { known[name]?.isEnabled = isEnabled }

    /// What is wrong with the bitmaps that an image keeps after a crash.
    func judge(_ bitmaps: [MiniCheck.Bitmap]) -> Violation? {
        for bitmap in bitmaps where !bitmap.isInUse {
            guard let known = known[bitmap.name] else {
                return Violation("D6: bitmap '\(bitmap.name)' is consistent that is none of the image's", .corrupt)
            }
            let missing = known.changed.subtracting(bitmap.dirty)
            guard missing.isEmpty else {
                return Violation("D6: bitmap '\(bitmap.name)' lacks granules \(missing.sorted())", .corrupt)
            }
        }
        return nil
    }

    /// The same after an orderly end, where all of them are there.
    func judge(closed bitmaps: [MiniCheck.Bitmap]) -> Violation? {
        for name in known.keys.sorted() where !bitmaps.contains(where: { $0.name == name && !$0.isInUse }) {
            return Violation("bitmap '\(name)' is not kept by an orderly end", .corrupt)
        }
        return judge(bitmaps)
    }
}
