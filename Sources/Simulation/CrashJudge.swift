import Block
public import BlockTestKit
import Bytes

/// Looks at a crash state as an operator would: checks it, opens it with fresh code, reads all of it, writes all of it,
/// and checks it again. Promises D1 to D6 and D8.
public struct CrashJudge {
    public let shape: Shape
    private let rewrite = Rewrite()

    public init(_ shape: Shape) { self.shape = shape }

    /// What a fresh start found on a disk.
    public struct Found {
        public let contents: [UInt8]
        /// There is no image yet; the rest tells of the one that it is made on, where there is one.
        public var isNone = false
        /// The file for data by itself, where it shall always read as the disk, cut or filled up to the disk's length.
        public let raw: [UInt8]?
        /// Clusters that nothing uses.
        public let leaks: Int
        public let snapshots: [KeptSnapshot]
        /// The bitmaps that the image keeps.
        public let bitmaps: [MiniCheck.Bitmap]
        /// The name of the file for data.
        public var dataName: String?
        /// What a machine's state reads as, sector by sector; what is not there reads as zeros.
        public var vmState: [UInt64: [UInt8]] = [:]
    }

    /// The whole judgement; throws what is wrong.
    @discardableResult
    public func judge(_ state: CrashState) throws(Violation) -> Found {
        let found = try recover(state)
        try compare(found, state.point)
        return found
    }

    /// What was found against what may be found at that moment.
    func compare(_ found: Found, _ point: CrashPoint) throws(Violation) {
        if found.isNone {
            guard point.isMaking else { throw Violation("D3: there is no image", .corrupt) }
            guard let beneath = point.beneath else { return }
            let wrong = beneath.outcome.judge(found) ?? beneath.bitmaps.judge(found.bitmaps)
            if let wrong { throw wrong.told { "the image below the one that is being made: \($0)" } }
            return
        }
        if let wrong = point.judge(found) { throw wrong }
        if let raw = found.raw, let wrong = point.oracle.judge(afterCrash: raw) {
            throw wrong.told { "the raw file for data by itself: \($0)" }
        }
        if let wrong = point.bitmaps.judge(found.bitmaps) { throw wrong }
        guard point.dataNames.isEmpty || point.dataNames.contains(found.dataName ?? "") else {
            throw Violation("the file for data is called '\(found.dataName ?? "")'", .corrupt)
        }
    }

    /// Everything but the comparison with what was written: what is found depends on the bytes alone.
    public func recover(_ state: CrashState) throws(Violation) -> Found {
        // An image that is being made is none until its header is there.
        if state.point.isMaking, state.image.bytes(ByteRange(at: 0, count: 4)) != [0x51, 0x46, 0x49, 0xFB] {
            guard let beneath = state.point.stateBeneath() else {
                return Found(contents: [], isNone: true, raw: nil, leaks: 0, snapshots: [], bitmaps: [])
            }
            var found = try recover(beneath)
            found.isNone = true
            return found
        }
        let check = MiniCheck(state.image)
        // Where another program left the dirty bit, refcounts are behind until a repair has ended (O12).
        guard check.errors.isEmpty || check.isDirty else { throw Violation("D4: \(check.errors)", .corrupt) }
        guard !check.isCorrupt else { throw Violation("the corrupt bit is set", .corrupt) }
        let context = SimulatedContext(seed: 1, order: .fifo)
        let chain = SimulatedChain(context, shape, seed: 1, .init(latencyNs: 1...1, discarded: .zeros))
        let (contents, vmState): ([UInt8], [UInt64: [UInt8]])
        do { (contents, vmState) = try context.complete { try await readAndRewrite(state, check, chain) } } catch {
            throw error as? Violation ?? Violation("\(error)", .corrupt)
        }
        let after = MiniCheck(chain.disks[chain.top].contents)
        if check.isDataRaw, let data = chain.dataDisks[chain.top]?.contents {
            // A crash in the middle of a new size may leave it longer than the disk.
            guard Self.isSame(Self.fitted(data, contents.count), after.contents(data: data).array) else {
                throw Violation("the raw file for data does not read as the disk after it was written", .corrupt)
            }
        }
        guard after.errors.isEmpty, !after.isDirty else {
            throw Violation("D4 after writing: \(after.errors)", .corrupt)
        }
        guard !check.isDirty || after.leaks == 0 else {
            throw Violation("\(after.leaks) leaks after a repair", .corrupt)
        }
        let snapshots = SnapshotForge.snapshots(in: state.image)
        guard SnapshotForge.snapshots(in: chain.disks[chain.top].contents) == snapshots else {
            throw Violation("D5: writing to the disk changed an internal snapshot", .corrupt)
        }
        for (disk, old) in zip(chain.disks, state.point.below) where disk.contents != old {
            throw Violation("D5: a backing file changed", .corrupt)
        }
        // All was written anew: what a bitmap recorded that could be trusted, it has recorded as well.
        for bitmap in check.bitmaps where !bitmap.isInUse && bitmap.isAuto {
            let granules = (after.size + (1 << bitmap.granularityBits) - 1) >> bitmap.granularityBits
            guard let kept = after.bitmaps.first(where: { $0.name == bitmap.name }), !kept.isInUse,
                UInt64(kept.dirty.count) == granules
            else { throw Violation("D6: bitmap '\(bitmap.name)' is not kept after the crash", .corrupt) }
        }
        return Found(
            contents: contents, raw: check.isDataRaw ? state.data.map { Self.fitted($0, contents.count) } : nil,
            leaks: check.leaks, snapshots: snapshots, bitmaps: check.bitmaps, dataName: check.dataFileName,
            vmState: vmState)
    }

    private static func isSame(_ bytes: [UInt8], _ others: [UInt8]) -> Bool {
        bytes.count == others.count && bytes.rawBytes.isSame(as: others.rawBytes)
    }

    private static func fitted(_ data: SparseBytes, _ count: Int) -> [UInt8] {
        var data = data
        data.resize(to: UInt64(count))
        return data.array
    }

    /// What the disk is written with after a crash: always the same bytes, drawn once.
    private final class Rewrite {
        private var bytes: [UInt8] = []

        func bytes(_ count: Int) -> [UInt8] {
            if bytes.count != count {
                var random = SeededRandom(seed: 0xFE11)
                bytes = random.bytes(count)
            }
            return bytes
        }
    }

    private func readAndRewrite(
        _ state: CrashState, _ check: MiniCheck, _ chain: SimulatedChain
    ) async throws -> ([UInt8], [UInt64: [UInt8]]) {
        do {
            if let base = state.point.base { chain.setBase(base) }
            for image in state.point.below { try await chain.pushBelow(chain.disk(image)) }
            try await chain.push(chain.disk(state.image), data: state.data.map { chain.disk($0) })
        } catch { throw Violation("D3: it does not open: \(error)", .corrupt) }
        let io = chain.io
        let found: [UInt8]
        let vmState: [UInt64: [UInt8]]
        do throws(BlockError) {
            found = try await io.bytes(at: 0, count: Int(io.length))
            vmState = try await chain.vmState(at: check.vmStateRanges)
        } catch { throw Violation("D2: reading fails: \(error)", .lost) }
        let pattern = rewrite.bytes(found.count)
        do {
            try await io.write(pattern, at: 0)
            try await io.flush()
            let read = try await io.bytes(at: 0, count: pattern.count)
            guard Self.isSame(read, pattern) else {
                throw Violation("what is written after the crash is not read", .corrupt)
            }
            try await chain.close(chain.top)
        } catch let error as Violation { throw error } catch {
            throw Violation("writing after the crash fails: \(error)", .corrupt)
        }
        return (found, vmState)
    }
}
