import Block
import Devices
import Graph
import ISCSI
import NBDServer
import QMPTypes

/// An export as the management protocol knows it.
final class Export {
    enum Kind {
        /// With who serves it, also while another server has taken its place.
        case nbd(NBDExport, NBDServer)
        case iscsi(ISCSITarget, ISCSIPortal)
    }

    let id: String
    let kind: Kind
    /// What it shows: one of NBD's, the units of iSCSI's.
    let sources: [ExportSource]
    private(set) var isShuttingDown = false
    private var isGone = false
    private let gone = WaitQueue()

    init(id: String, kind: Kind, sources: [ExportSource]) {
        self.id = id
        self.kind = kind
        self.sources = sources
    }

    /// How many clients use it.
    var clients: Int {
        switch kind {
        case .nbd(let export, let server): server.clients(of: export)
        case .iscsi(let target, let portal): portal.server.sessions(of: target)
        }
    }

    /// Hides the export, and cuts NBD's clients off. False where somebody did so before, whose business the rest is.
    func beginRemoval() -> Bool {
        guard !isShuttingDown else { return false }
        isShuttingDown = true
        if case .nbd(let export, let server) = kind { server.close(export) }
        return true
    }

    /// The export is gone, and its end has been told.
    func endRemoval() {
        isGone = true
        gone.wakeAll()
    }

    func waitUntilGone() async { while !isGone { await gone.wait() } }

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
        _ name: String, for export: String, isWritable: Bool, at place: ServingPlace = .owner,
        showing bitmaps: [BitmapSource] = [], onChange: @escaping () -> Void
    ) async throws(QMPError) -> ExportSource {
        if devices.device(name) != nil {
            try refuseFixed(place)
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
                    shared: [.consistentRead, .write, .writeUnchanged],
                    at: place, showing: bitmaps))
        } catch { throw QMPError(error) }
    }

    func release(_ source: ExportSource) async {
        switch source {
        case .node(let root): await graph.detach(root)
        case .device(let user): devices.detach(user)
        }
    }
}
