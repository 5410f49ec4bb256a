import Block
import SCSI

/// Task management (RFC 7143 11.5): commands are aborted at once, and the answer waits until none of them runs any more.
extension ISCSISession {
    /// One command, which may have ended and its slot be another's.
    private struct Aborted {
        let task: ISCSITask
        let generation: UInt64
        let session: ISCSISession

        var isUnderWay: Bool { task.generation == generation && task.state != .idle }
    }

    func manage(_ pdu: TaskManagementPDU) async {
        guard let target, let nexus else { return }
        guard managing < ISCSILimits.taskManagement else { return await reject(pdu.header, .tooManyImmediate) }
        let sessions = server.sessions(at: target)
        var response = TaskManagementResponsePDU.Response.complete
        var aborted: [Aborted] = []
        var reset: Reset?
        switch TaskManagementPDU.Function(rawValue: pdu.function) {
        case .abortTask:
            if let task = tasks[pdu.referencedTag], task.lun == pdu.lun {
                aborted = abort([self]) { $0 === task }
            } else if !forget(pdu) {
                response = .noSuchTask
            }
        case .abortTaskSet: aborted = abort([self]) { $0.lun == pdu.lun }
        case .clearTaskSet: aborted = abort(sessions) { $0.lun == pdu.lun }
        case .logicalUnitReset:
            reset = .unit
            aborted = abort(sessions) { $0.lun == pdu.lun }
        case .targetWarmReset, .targetColdReset:
            reset = pdu.function == TaskManagementPDU.Function.targetColdReset.rawValue ? .cold : .warm
            aborted = abort(sessions) { _ in true }
        case .taskReassign: response = .reassignUnsupported
        case .clearACA, nil: response = .unsupported
        }
        guard !aborted.isEmpty || reset != nil else {
            return await send(TaskManagementResponsePDU(response, tag: pdu.tag))
        }
        // This task goes on receiving: what is waited for may need that.
        managing += 1
        context.spawn { [self] in
            if await !carryOut(reset, lun: pdu.lun, target, nexus) { response = .noSuchUnit }
            for one in aborted { while one.isUnderWay { await one.session.ended.wait() } }
            await send(TaskManagementResponsePDU(response, tag: pdu.tag))
            managing -= 1
            ended.wakeAll()
            if reset == .cold { server.drop(target, last: self) }
        }
    }

    private enum Reset { case unit, warm, cold }

    /// False where there is no such unit.
    private func carryOut(_ reset: Reset?, lun: UInt64, _ target: ISCSITarget, _ nexus: SCSINexus) async -> Bool {
        switch reset {
        case nil: return true
        case .unit: return await target.scsi.reset(lun: lun, by: nexus)
        case .warm, .cold:
            await target.scsi.resetAll(by: nexus)
            return true
        }
    }

    /// Aborts the commands of some sessions. Other initiators are told; this one knows.
    private func abort(_ sessions: [ISCSISession], _ isMeant: (ISCSITask) -> Bool) -> [Aborted] {
        var result: [Aborted] = []
        for session in sessions {
            for task in session.tasks.values where isMeant(task) {
                task.abort(session === self ? .silent : .told)
                result.append(Aborted(task: task, generation: task.generation, session: session))
            }
        }
        return result
    }

    /// Drops a command that has come before its turn. False where it is not there.
    private func forget(_ pdu: TaskManagementPDU) -> Bool {
        guard let number = early.first(where: { $0.value.header.tag == pdu.referencedTag })?.key else { return false }
        forget(early: number)
        return true
    }
}
