import Bytes

extension SimDisk {
    /// The disk at one moment: what is durable and what is not yet. A value; it shares memory with the disk.
    public struct Snapshot: Sendable {
        public let durable: SparseBytes
        public let pending: [Operation]
        let sectorSize: UInt64
    }

    public var snapshot: Snapshot {
        var pending = pending.sorted(by: Self.inOrder)
        for index in pending.indices where pending[index].completion == nil {
            var now = contents
            apply(pending[index], to: &now)
            pending[index].fillSectors(options.sectorSize, from: now)
        }
        return Snapshot(durable: durable, pending: pending, sectorSize: options.sectorSize)
    }
}

extension SimDisk.Operation {
    /// Makes a change of parts of sectors one of whole sectors: a host writes these, with what they held.
    mutating func fillSectors(_ size: UInt64, from contents: SparseBytes) {
        guard !range.isEmpty, !range.isAligned(to: size), let whole = range.grown(to: size) else {
            return
        }
        switch change {
        case .write, .zero: break
        case .discard, .resize: return
        }
        // The last sector of a file ends where the file ends. What the file holds of a guest's sector there is left out: a
        // change under way that makes the file longer may write that sector whole, and would be mixed with it.
        range = whole.intersection(ByteRange(at: 0, count: max(contents.length & ~511, range.end)))
        change = .write(contents.bytes(range))
    }
}

extension SimDisk.Snapshot {
    /// The disk with the pending changes of these indices, of those in `torn` only some sectors.
    public func image(keeping kept: [Int], torn: [Int: Set<UInt64>] = [:]) -> SparseBytes {
        var image = durable
        for index in kept {
            var operation = pending[index]
            if let sectors = torn[index] {
                operation.sectors = operation.sectors.map { $0.intersection(sectors) } ?? sectors
            }
            SimDisk.apply(operation, sectorSize, to: &image)
        }
        return image
    }

    /// Some of the sectors of a change, or nil where it has but one.
    public func tear(_ index: Int, _ random: inout SeededRandom) -> Set<UInt64>? {
        let range = pending[index].range
        guard !range.isEmpty, range.start / sectorSize != (range.end - 1) / sectorSize else { return nil }
        return SimDisk.someSectors(of: range, sectorSize, &random)
    }
}

extension SimDisk.Snapshot {
    /// The pending changes, for a report.
    public var text: String {
        pending.enumerated().map { index, operation in
            let kind =
                switch operation.change {
                case .write: "write \(operation.range)"
                case .zero: "zero \(operation.range)"
                case .discard: "discard \(operation.range)"
                case .resize(let length): "resize \(length)"
                }
            return "\n  \(index): \(kind)\(operation.completedNs == nil ? " under way" : "")"
        }.joined()
    }
}
