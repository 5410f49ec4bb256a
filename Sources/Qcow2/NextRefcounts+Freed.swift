import Block
import Bytes

extension NextRefcounts {
    /// Tells what the old counts held and the new ones do not, block by block, once the new ones are in force. Nothing is taken
    /// meanwhile. What cannot be read is left out: giving space back to the host is advice.
    func forEachFreed(_ pace: Pace, _ body: ([ByteRange]) async -> Void) async throws(BlockError) {
        var oldPlaces: [ClusterRun] = []
        for index in oldTable.indices where oldTable[index] != 0 && !isKept(index) {
            oldPlaces.add(ClusterRun(start: oldTable[index] >> bits, count: 1))
        }
        var places = ClusterSet()
        for run in oldPlaces { for cluster in run.start..<run.end { places.insert(cluster) } }
        for index in oldTable.indices where oldTable[index] != 0 && !isKept(index) {
            try await pace.rest()
            guard let bytes = try? await image.readCluster(at: oldTable[index]) else { continue }
            let old = RefcountBlock(
                index: index, offset: oldTable[index], bytes: bytes.bytes.array, order: oldOrder)
            let first = UInt64(index) * UInt64(old.count)
            var runs: [ClusterRun] = []
            for position in 0..<old.count where old[position] > 0 {
                let cluster = first + UInt64(position)
                // The blocks that say so are needed to the end.
                if places.contains(cluster) { continue }
                guard let count = try? await self.count(of: cluster), count == 0 else { continue }
                runs.add(ClusterRun(start: cluster, count: 1))
            }
            await body(ranges(runs))
        }
        await body(ranges(oldPlaces))
    }

    /// Whether old and new counts share the block.
    private func isKept(_ index: Int) -> Bool {
        index < isOwn.count && !isOwn[index] && table[index] == oldTable[index]
    }

    private func ranges(_ runs: [ClusterRun]) -> [ByteRange] {
        runs.map { ByteRange(at: $0.start << bits, count: $0.count << bits) }
    }
}
