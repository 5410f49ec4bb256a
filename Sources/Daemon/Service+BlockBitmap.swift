import Digests
import DirtyMap
import Graph
import QMPTypes

// The commands of Schema/block-bitmap.json.
extension Service {
    func blockDirtyBitmapAdd(_ arguments: BlockDirtyBitmapAdd) async throws(QMPError) {
        try await carryOut(.add(BitmapRequest(arguments)))
    }

    func blockDirtyBitmapRemove(_ arguments: BlockDirtyBitmap) async throws(QMPError) {
        try await carryOut(.remove(BitmapName(arguments)))
    }

    func blockDirtyBitmapClear(_ arguments: BlockDirtyBitmap) async throws(QMPError) {
        try await carryOut(.clear(BitmapName(arguments)))
    }

    func blockDirtyBitmapEnable(_ arguments: BlockDirtyBitmap) async throws(QMPError) {
        try await carryOut(.enable(BitmapName(arguments)))
    }

    func blockDirtyBitmapDisable(_ arguments: BlockDirtyBitmap) async throws(QMPError) {
        try await carryOut(.disable(BitmapName(arguments)))
    }

    func blockDirtyBitmapMerge(_ arguments: BlockDirtyBitmapMerge) async throws(QMPError) {
        try await carryOut(BitmapAction(arguments))
    }

    private func carryOut(_ action: BitmapAction) async throws(QMPError) {
        do { try await graph.bitmaps(action) } catch { throw QMPError(error) }
    }

    func xDebugBlockDirtyBitmapSha256(_ arguments: BlockDirtyBitmap) async throws(QMPError) -> BlockDirtyBitmapSha256 {
        let bitmap: DirtyBitmap
        do { bitmap = try graph.bitmap(BitmapName(arguments)) } catch { throw QMPError(error) }
        guard let map = bitmap.map, let hash = RunningHash(.sha256) else {
            throw QMPError("Bitmap '\(arguments.name)' is inconsistent and cannot be used")
        }
        guard map.serialisedCount <= Self.mostSummed else {
            throw QMPError(
                "Bitmap '\(arguments.name)' has \(map.serialisedCount) bytes: too many for a checksum, which takes "
                    + "\(Self.mostSummed) at most")
        }
        map.forEachPiece { hash.add($0) }
        guard let sum = hash.hexadecimal() else { throw QMPError("The digest could not be computed") }
        return BlockDirtyBitmapSha256(sha256: sum)
    }

    /// Bytes that a checksum is made of at most: as many as the largest bitmap has that an image can keep. Nothing else is
    /// served meanwhile.
    private static let mostSummed: UInt64 = 512 << 20
}

extension BitmapName {
    init(_ wire: BlockDirtyBitmap) { self.init(node: wire.node, name: wire.name) }
}

extension BitmapRequest {
    init(_ wire: BlockDirtyBitmapAdd) {
        self.init(
            BitmapName(node: wire.node, name: wire.name), granularity: wire.granularity,
            isPersistent: wire.persistent ?? false, isDisabled: wire.disabled ?? false)
    }
}

extension BitmapSource {
    init(_ wire: BlockDirtyBitmapOrStr) {
        switch wire {
        case .local(let name): self.init(name: name)
        case .external(let bitmap): self.init(node: bitmap.node, name: bitmap.name)
        }
    }
}

extension BitmapAction {
    init(_ wire: BlockDirtyBitmapMerge) {
        self = .merge(
            into: BitmapName(node: wire.node, name: wire.target), wire.bitmaps.map { BitmapSource($0) })
    }
}

extension BlockDirtyInfo {
    init(_ bitmap: BitmapInfo) {
        self.init(
            name: bitmap.name, count: Int64(clamping: bitmap.dirtyBytes), granularity: UInt32(bitmap.granularity),
            recording: bitmap.isRecording, busy: bitmap.isBusy, persistent: bitmap.isPersistent,
            inconsistent: bitmap.isInconsistent ? true : nil)
    }
}
