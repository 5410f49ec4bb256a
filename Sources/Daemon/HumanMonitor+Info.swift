import Devices
import Graph
import HostStorage
import Image
import QMPTypes

// `info block` and `info blockstats`.
extension HumanMonitor {
    func infoBlock(_ line: HumanCommandLine) async -> String {
        let wanted = line.optional("device")
        let isVerbose = line.flags.contains("v")
        var text = ""
        if line.flags.contains("n") {
            for (index, node) in service.graph.nodes.reversed().enumerated()
            where wanted == nil || node.nodeName == wanted {
                // The first of all has no line before it, whether or not others are left out.
                if index > 0 { text += "\n" }
                guard let info = service.deviceInfo(named: node.nodeName) else { continue }
                text += entry(nil, info, isVerbose: isVerbose)
            }
            return text
        }
        for (index, device) in service.devices.devices.enumerated()
        where wanted == nil || device.name == wanted || device.guestID == wanted {
            if index > 0 { text += "\n" }
            let info = service.info(device)
            text += entry(info, info.inserted, isVerbose: isVerbose)
        }
        return text
    }

    private func entry(_ device: BlockInfo?, _ medium: BlockDeviceInfo?, isVerbose: Bool) -> String {
        var text = device?.device ?? medium?.nodeName ?? ""
        if let device, let node = medium?.nodeName { text = "\(device.device) (\(node))" }
        guard let medium else {
            return text + ": [not inserted]\n" + (device.map { attachment($0) } ?? "")
        }
        let readOnly = medium.ro ? ", read-only" : ""
        let encrypted = medium.encrypted ? ", encrypted" : ""
        text += ": \(medium.file) (\(medium.drv)\(readOnly)\(encrypted))\n"
        if let device { text += attachment(device) }
        let cache = medium.cache
        text += "    Cache mode:       \(cache.writeback ? "writeback" : "writethrough")"
        text += (cache.direct ? ", direct" : "") + (cache.noFlush ? ", ignore flushes" : "") + "\n"
        if let backing = medium.backingFile {
            text += "    Backing file:     \(backing) (chain depth: \(medium.backingFileDepth))\n"
        }
        if medium.detectZeroes != .off { text += "    Detect zeroes:    \(medium.detectZeroes.rawValue)\n" }
        text += limits(medium)
        if isVerbose, let node = medium.nodeName { text += "\nImages:\n" + images(below: node) }
        return text
    }

    private func attachment(_ device: BlockInfo) -> String {
        var text = device.qdev.map { "    Attached to:      \($0)\n" } ?? ""
        if device.removable {
            // Of what has no tray, too, it is said to be closed.
            text += "    Removable device: \(device.locked ? "locked" : "not locked"), "
            text += "tray \(device.trayOpen == true ? "open" : "closed")\n"
        }
        return text
    }

    private func limits(_ medium: BlockDeviceInfo) -> String {
        let rates = [medium.bps, medium.bpsRd, medium.bpsWr, medium.iops, medium.iopsRd, medium.iopsWr]
        guard rates.contains(where: { $0 != 0 }) else { return "" }
        return "    I/O throttling:   bps=\(medium.bps) bps_rd=\(medium.bpsRd)  bps_wr=\(medium.bpsWr) "
            + "bps_max=\(medium.bpsMax ?? 0) bps_rd_max=\(medium.bpsRdMax ?? 0) bps_wr_max=\(medium.bpsWrMax ?? 0) "
            + "iops=\(medium.iops) iops_rd=\(medium.iopsRd) iops_wr=\(medium.iopsWr) iops_max=\(medium.iopsMax ?? 0) "
            + "iops_rd_max=\(medium.iopsRdMax ?? 0) iops_wr_max=\(medium.iopsWrMax ?? 0) "
            + "iops_size=\(medium.iopsSize ?? 0) group=\(medium.group ?? "")\n"
    }

    /// An image and those below it, as the image tool shows them.
    private func images(below node: String) -> String {
        var text = ""
        var next = service.graph.node(node)
        while let here = next {
            text += Image.ImageInfo(here.image).text(localTime: HostProcess.localTime)
            next = here.backingNode.flatMap { service.graph.node($0) }
        }
        return text
    }

    func infoBlockStats() async throws(QMPError) -> String {
        var text = ""
        for entry in try await service.queryBlockstats(QueryBlockstatsArguments()) {
            let stats = entry.stats
            text += "\(entry.device ?? ""): rd_bytes=\(stats.rdBytes) wr_bytes=\(stats.wrBytes)"
            text += " rd_operations=\(stats.rdOperations) wr_operations=\(stats.wrOperations)"
            text += " flush_operations=\(stats.flushOperations) wr_total_time_ns=\(stats.wrTotalTimeNs)"
            text += " rd_total_time_ns=\(stats.rdTotalTimeNs) flush_total_time_ns=\(stats.flushTotalTimeNs)"
            text += " rd_merged=\(stats.rdMerged) wr_merged=\(stats.wrMerged) idle_time_ns=\(stats.idleTimeNs ?? 0)\n"
        }
        return text
    }
}
