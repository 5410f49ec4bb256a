import Block
import Devices
import Graph
import ISCSI
import NBDServer
import QMPTypes

/// An export as the management protocol knows it.
final class Export {
    enum Kind {
        case nbd(NBDExport)
        case iscsi(ISCSITarget, ISCSIPortal)
    }

    let id: String
    let kind: Kind
    /// What it shows: one of NBD's, the units of iSCSI's.
    let sources: [ExportSource]
    var isShuttingDown = false

    init(id: String, kind: Kind, sources: [ExportSource]) {
        self.id = id
        self.kind = kind
        self.sources = sources
    }

    var type: BlockExportType {
        switch kind {
        case .nbd: .nbd
        case .iscsi: .iscsi
        }
    }
}

/// What an export sends its clients' requests to, held as long as the export lasts.
enum ExportSource {
    /// A node, or the overlay that was put on it since.
    case node(BlockRoot)
    /// A device, whatever medium it has.
    case device(DeviceUser)

    /// The node in reach; empty where there is none.
    var nodeName: String {
        switch self {
        case .node(let root): root.nodeName
        case .device(let user): user.device.nodeName ?? ""
        }
    }

    var storage: any Storage {
        switch self {
        case .node(let root): root
        case .device(let user): user.device
        }
    }
}

extension Service {
    /// Attaches an export to a device or node. `onChange` tells that another medium is in reach of a device, or none.
    func source(
        _ name: String, for export: String, isWritable: Bool, onChange: @escaping () -> Void
    ) async throws(QMPError) -> ExportSource {
        if devices.device(name) != nil {
            do throws(DeviceError) {
                return .device(
                    try devices.attach(export, toDevice: name, isWritable: isWritable, onChange: onChange))
            } catch { throw QMPError(error) }
        }
        guard let node = graph.node(name) else { throw QMPError("Cannot find device='' nor node-name='\(name)'") }
        if isWritable, node.isReadOnly { throw QMPError("Cannot export read-only node as writable") }
        do throws(OpenError) {
            return .node(
                try await graph.attach(
                    export, to: name, used: isWritable ? [.consistentRead, .write] : .consistentRead,
                    // NBD cannot tell its clients of another size, nor does a node tell anybody.
                    shared: [.consistentRead, .write, .writeUnchanged]))
        } catch { throw QMPError(error) }
    }

    func release(_ source: ExportSource) async {
        switch source {
        case .node(let root): await graph.detach(root)
        case .device(let user): devices.detach(user)
        }
    }
}
