import Graph
import Block
import HostIO
import QMPTypes
import Qcow2

extension BlockImageCorruptedEvent {
    init(_ node: String, _ report: CorruptionReport) {
        self.init(
            device: "", nodeName: node, msg: report.message, offset: report.offset.map { Int64(clamping: $0) },
            size: report.size.map { Int64(clamping: $0) }, fatal: report.isFatal)
    }
}

extension BlockIoErrorEvent {
    init(_ report: IOErrorReport) {
        self.init(
            device: "", nodeName: report.nodeName, operation: report.operation == .read ? .read : .write,
            action: .report, nospace: report.isNoSpace, reason: errnoText(report.error.errno))
    }
}
