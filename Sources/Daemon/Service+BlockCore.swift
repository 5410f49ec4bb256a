import Block
import Graph
import Qcow2
import QMPTypes

// The commands of Schema/block-core.json.
extension Service {
    func blockdevAdd(_ arguments: BlockdevOptions) async throws(QMPError) {
        let options = try NodeOptions(arguments)
        do { try await graph.add(options) } catch { throw QMPError(error) }
    }

    func blockdevReopen(_ arguments: BlockdevReopenArguments) async throws(QMPError) {
        var list: [NodeOptions] = []
        for options in arguments.options { list.append(try NodeOptions(options)) }
        do { try await graph.reopen(list) } catch { throw QMPError(error) }
    }

    func blockdevDel(_ arguments: BlockdevDelArguments) async throws(QMPError) {
        do { try await graph.delete(arguments.nodeName) } catch { throw QMPError(error) }
    }

    func blockdevSnapshot(_ arguments: BlockdevSnapshot) async throws(QMPError) {
        do { try await graph.snapshot(node: arguments.node, overlay: arguments.overlay) } catch {
            throw QMPError(error)
        }
    }

    func blockdevSnapshotSync(_ arguments: BlockdevSnapshotSync) async throws(QMPError) {
        do { try await graph.snapshotSync(request(arguments)) } catch { throw QMPError(error) }
    }

    func request(_ snapshot: BlockdevSnapshotSync) -> SnapshotSyncRequest {
        SnapshotSyncRequest(
            device: snapshot.device, nodeName: snapshot.nodeName, snapshotFile: snapshot.snapshotFile,
            snapshotNodeName: snapshot.snapshotNodeName, format: snapshot.format,
            mode: snapshot.mode == .existing ? .existing : .absolutePaths,
            mayReplace: snapshot.force ?? configuration.actsAsQEMU)
    }

    func blockdevSnapshotInternalSync(_ arguments: BlockdevSnapshotInternal) async throws(QMPError) {
        do { try await graph.snapshotInternally(request(arguments)) } catch { throw QMPError(error) }
    }

    func blockdevSnapshotDeleteInternalSync(_ arguments: BlockdevSnapshotDeleteInternalSyncArguments)
        async throws(QMPError) -> SnapshotInfo
    {
        do {
            return SnapshotInfo(
                try await graph.deleteInternalSnapshot(
                    device: arguments.device, id: arguments.id, name: arguments.name))
        } catch { throw QMPError(error) }
    }

    /// The guest's clock stays 0: there is no guest here.
    func request(_ snapshot: BlockdevSnapshotInternal) -> InternalSnapshotRequest {
        let nowUs = host.wallClockUs
        return InternalSnapshotRequest(
            device: snapshot.device,
            snapshot: NewSnapshot(
                name: snapshot.name, dateSeconds: UInt32(truncatingIfNeeded: nowUs / 1_000_000),
                dateNanoseconds: UInt32(nowUs % 1_000_000) * 1000))
    }

    func blockResize(_ arguments: BlockResizeArguments) async throws(QMPError) {
        do {
            try await graph.resize(device: arguments.device, nodeName: arguments.nodeName, to: arguments.size)
        } catch { throw QMPError(error) }
    }
}
