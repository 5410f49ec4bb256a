import JSON
import QMPTypes

/// Commands that all refuse once their arguments have been taken apart: what a test of decoding needs of a daemon.
final class RefusingCommands: QMPCommands {
    static let reached = QMPError("reached the command")

    func blockdevAdd(_ arguments: BlockdevOptions) async throws(QMPError) { throw Self.reached }
    func blockdevReopen(_ arguments: BlockdevReopenArguments) async throws(QMPError) { throw Self.reached }
    func blockdevDel(_ arguments: BlockdevDelArguments) async throws(QMPError) { throw Self.reached }
    func blockdevSnapshot(_ arguments: BlockdevSnapshotArguments) async throws(QMPError) { throw Self.reached }
    func blockdevSnapshotSync(_ arguments: BlockdevSnapshotSyncArguments) async throws(QMPError) { throw Self.reached }
    func blockResize(_ arguments: BlockResizeArguments) async throws(QMPError) { throw Self.reached }
    func nbdServerStart(_ arguments: NbdServerStartArguments) async throws(QMPError) { throw Self.reached }
    func nbdServerStop() async throws(QMPError) { throw Self.reached }
    func blockExportAdd(_ arguments: BlockExportOptions) async throws(QMPError) { throw Self.reached }
    func blockExportDel(_ arguments: BlockExportDelArguments) async throws(QMPError) { throw Self.reached }
    func queryBlockExports() async throws(QMPError) -> [BlockExportInfo] { throw Self.reached }
    func queryNamedBlockNodes(
        _ arguments: QueryNamedBlockNodesArguments
    ) async throws(QMPError) -> [BlockDeviceInfo] { throw Self.reached }
    func queryBlock() async throws(QMPError) -> [BlockInfo] { throw Self.reached }
    func queryBlockstats(_ arguments: QueryBlockstatsArguments) async throws(QMPError) -> [BlockStats] {
        throw Self.reached
    }
    func queryVersion() async throws(QMPError) -> VersionInfo { throw Self.reached }
    func quit() async throws(QMPError) { throw Self.reached }
}
