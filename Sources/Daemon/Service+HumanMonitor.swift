import QMPTypes

// The commands of Schema/human-monitor.json.
extension Service {
    func humanMonitorCommand(_ arguments: HumanMonitorCommandArguments) async throws(QMPError) -> String {
        await HumanMonitor(self).run(arguments.commandLine)
    }
}
