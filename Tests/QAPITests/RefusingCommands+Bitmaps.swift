import QMPTypes

extension RefusingCommands {
    func blockDirtyBitmapAdd(_ arguments: BlockDirtyBitmapAdd) async throws(QMPError) { throw Self.reached }
    func blockDirtyBitmapRemove(_ arguments: BlockDirtyBitmap) async throws(QMPError) { throw Self.reached }
    func blockDirtyBitmapClear(_ arguments: BlockDirtyBitmap) async throws(QMPError) { throw Self.reached }
    func blockDirtyBitmapEnable(_ arguments: BlockDirtyBitmap) async throws(QMPError) { throw Self.reached }
    func blockDirtyBitmapDisable(_ arguments: BlockDirtyBitmap) async throws(QMPError) { throw Self.reached }
    func blockDirtyBitmapMerge(_ arguments: BlockDirtyBitmapMerge) async throws(QMPError) { throw Self.reached }
    func xDebugBlockDirtyBitmapSha256(_ arguments: BlockDirtyBitmap) async throws(QMPError) -> BlockDirtyBitmapSha256 {
        throw Self.reached
    }
}
