import JSON
import QMPTypes

/// Commands that all refuse once their arguments have been taken apart: what a test of decoding needs of a daemon.
final class RefusingCommands: QMPCommands {
    static let reached = QMPError("reached the command")

    func blockdevAdd(_ arguments: BlockdevOptions) async throws(QMPError) { throw Self.reached }
    func blockdevReopen(_ arguments: BlockdevReopenArguments) async throws(QMPError) { throw Self.reached }
    func blockdevDel(_ arguments: BlockdevDelArguments) async throws(QMPError) { throw Self.reached }
    func blockdevSnapshot(_ arguments: BlockdevSnapshot) async throws(QMPError) { throw Self.reached }
    func blockdevSnapshotSync(_ arguments: BlockdevSnapshotSync) async throws(QMPError) { throw Self.reached }
    func blockdevSnapshotInternalSync(_ arguments: BlockdevSnapshotInternal) async throws(QMPError) {
        throw Self.reached
    }
    func blockdevSnapshotDeleteInternalSync(
        _ arguments: BlockdevSnapshotDeleteInternalSyncArguments
    ) async throws(QMPError) -> SnapshotInfo { throw Self.reached }
    func blockResize(_ arguments: BlockResizeArguments) async throws(QMPError) { throw Self.reached }
    func nbdServerStart(_ arguments: NbdServerStartArguments, from client: any QMPClient) async throws(QMPError) {
        throw Self.reached
    }
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

    func deviceAdd(_ arguments: DeviceAddArguments) async throws(QMPError) { throw Self.reached }
    func deviceDel(_ arguments: DeviceDelArguments) async throws(QMPError) { throw Self.reached }
    func blockdevOpenTray(_ arguments: BlockdevOpenTrayArguments) async throws(QMPError) { throw Self.reached }
    func blockdevCloseTray(_ arguments: BlockdevCloseTrayArguments) async throws(QMPError) { throw Self.reached }
    func blockdevRemoveMedium(_ arguments: BlockdevRemoveMediumArguments) async throws(QMPError) { throw Self.reached }
    func blockdevInsertMedium(_ arguments: BlockdevInsertMediumArguments) async throws(QMPError) { throw Self.reached }
    func xBlockdevRemoveMedium(_ arguments: XBlockdevRemoveMediumArguments) async throws(QMPError) {
        throw Self.reached
    }
    func xBlockdevInsertMedium(_ arguments: XBlockdevInsertMediumArguments) async throws(QMPError) {
        throw Self.reached
    }
    func blockdevChangeMedium(_ arguments: BlockdevChangeMediumArguments) async throws(QMPError) { throw Self.reached }
    func eject(_ arguments: EjectArguments) async throws(QMPError) { throw Self.reached }
    func change(_ arguments: ChangeArguments) async throws(QMPError) { throw Self.reached }
    func xBlockdevDel(_ arguments: XBlockdevDelArguments) async throws(QMPError) { throw Self.reached }
    func blockSetIoThrottle(_ arguments: BlockSetIoThrottleArguments) async throws(QMPError) { throw Self.reached }
    func transaction(_ arguments: TransactionArguments) async throws(QMPError) { throw Self.reached }
    func objectAdd(_ arguments: ObjectOptions) async throws(QMPError) { throw Self.reached }
    func objectDel(_ arguments: ObjectDelArguments) async throws(QMPError) { throw Self.reached }
    func getfd(_ arguments: GetfdArguments, from client: any QMPClient) async throws(QMPError) { throw Self.reached }
    func closefd(_ arguments: ClosefdArguments, from client: any QMPClient) async throws(QMPError) {
        throw Self.reached
    }
    func addFd(_ arguments: AddFdArguments, from client: any QMPClient) async throws(QMPError) -> AddfdInfo {
        throw Self.reached
    }
    func removeFd(_ arguments: RemoveFdArguments) async throws(QMPError) { throw Self.reached }
    func queryFdsets() async throws(QMPError) -> [FdsetInfo] { throw Self.reached }
    func humanMonitorCommand(_ arguments: HumanMonitorCommandArguments) async throws(QMPError) -> String {
        throw Self.reached
    }

    func blockdevCreate(_ arguments: BlockdevCreateArguments) async throws(QMPError) { throw Self.reached }
    func qomList(_ arguments: QomListArguments) async throws(QMPError) -> [ObjectPropertyInfo] { throw Self.reached }
    func qomGet(_ arguments: QomGetArguments) async throws(QMPError) -> JSONValue { throw Self.reached }
    func qomSet(_ arguments: QomSetArguments) async throws(QMPError) { throw Self.reached }
    func queryJobs() async throws(QMPError) -> [JobInfo] { throw Self.reached }
    func jobPause(_ arguments: JobPauseArguments) async throws(QMPError) { throw Self.reached }
    func jobResume(_ arguments: JobResumeArguments) async throws(QMPError) { throw Self.reached }
    func jobCancel(_ arguments: JobCancelArguments) async throws(QMPError) { throw Self.reached }
    func jobComplete(_ arguments: JobCompleteArguments) async throws(QMPError) { throw Self.reached }
    func jobFinalize(_ arguments: JobFinalizeArguments) async throws(QMPError) { throw Self.reached }
    func jobDismiss(_ arguments: JobDismissArguments) async throws(QMPError) { throw Self.reached }
    func queryBlockJobs() async throws(QMPError) -> [BlockJobInfo] { throw Self.reached }
    func blockJobSetSpeed(_ arguments: BlockJobSetSpeedArguments) async throws(QMPError) { throw Self.reached }
    func blockJobCancel(_ arguments: BlockJobCancelArguments) async throws(QMPError) { throw Self.reached }
    func blockJobPause(_ arguments: BlockJobPauseArguments) async throws(QMPError) { throw Self.reached }
    func blockJobResume(_ arguments: BlockJobResumeArguments) async throws(QMPError) { throw Self.reached }
    func blockJobComplete(_ arguments: BlockJobCompleteArguments) async throws(QMPError) { throw Self.reached }
    func blockJobFinalize(_ arguments: BlockJobFinalizeArguments) async throws(QMPError) { throw Self.reached }
    func blockJobDismiss(_ arguments: BlockJobDismissArguments) async throws(QMPError) { throw Self.reached }

    func blockCheck(_ arguments: BlockCheckArguments) async throws(QMPError) { throw Self.reached }
    func blockLatencyHistogramSet(_ arguments: BlockLatencyHistogramSetArguments) async throws(QMPError) {
        throw Self.reached
    }
}

/// A client that passes no descriptors.
final class BareClient: QMPClient {
    func takeDescriptor() -> Int32? { nil }
}

extension QMPHandler {
    func call(_ command: String, _ arguments: JSONObject) async throws(QMPError) -> JSONValue {
        try await call(command, arguments, from: BareClient())
    }
}
