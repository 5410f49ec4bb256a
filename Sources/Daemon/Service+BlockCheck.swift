import Block
import Graph
import Jobs
import QMPTypes
import Qcow2

// The command of Schema/block-check.json.
extension Service {
    /// Lines that the event carries at most.
    private static var messageLimit: Int { 64 }

    func blockCheck(_ arguments: BlockCheckArguments) async throws(QMPError) {
        let (id, name) = (arguments.jobId, arguments.nodeName)
        guard graph?.node(name) != nil else { throw QMPError("Cannot find device='' nor node-name='\(name)'") }
        let options = Job.Options(finalizes: arguments.autoFinalize ?? true, dismisses: arguments.autoDismiss ?? true)
        do {
            try jobs.start(id, .check, options) { [weak self, graph] job throws(OpenError) in
                guard let graph else { return }
                job.setRemaining(1)
                defer { job.advance(by: 1) }
                var messages: [String] = []
                let result = try await graph.check(name, pace: job.pace) {
                    if messages.count < Self.messageLimit { messages.append($0) }
                }
                self?.tell(.blockCheckCompleted(BlockCheckCompletedEvent(id, name, result, messages)))
            }
        } catch { throw QMPError(error) }
    }
}

extension BlockCheckCompletedEvent {
    fileprivate init(_ id: String, _ nodeName: String, _ result: Qcow2Check.Result, _ messages: [String]) {
        self.init(
            id: id, nodeName: nodeName, corruptions: Int64(clamping: result.corruptions),
            leaks: Int64(clamping: result.leaks), checkErrors: Int64(clamping: result.checkErrors),
            totalClusters: Int64(clamping: result.totalClusters),
            allocatedClusters: Int64(clamping: result.allocatedClusters), messages: messages)
    }
}
