import Graph
import QMPTypes

// The commands of Schema/transaction.json.
extension Service {
    func transaction(_ arguments: TransactionArguments) async throws(QMPError) {
        let isGrouped = arguments.properties?.completionMode == .grouped
        var actions: [GraphAction] = []
        for action in arguments.actions {
            // QEMU finds out action by action, those before being undone; here nothing has been done yet.
            if isGrouped, action.type != .abort {
                throw QMPError(
                    "Action '\(action.type.rawValue)' does not support Transaction property completion-mode = grouped")
            }
            switch action.variant {
            case .abort, .nothing: actions.append(.abort)
            case .blockDirtyBitmapAdd(let add): actions.append(.bitmaps(.add(BitmapRequest(add.data))))
            case .blockDirtyBitmapRemove(let bitmap): actions.append(.bitmaps(.remove(BitmapName(bitmap.data))))
            case .blockDirtyBitmapClear(let bitmap): actions.append(.bitmaps(.clear(BitmapName(bitmap.data))))
            case .blockDirtyBitmapEnable(let bitmap): actions.append(.bitmaps(.enable(BitmapName(bitmap.data))))
            case .blockDirtyBitmapDisable(let bitmap): actions.append(.bitmaps(.disable(BitmapName(bitmap.data))))
            case .blockDirtyBitmapMerge(let merge): actions.append(.bitmaps(BitmapAction(merge.data)))
            case .blockdevSnapshot(let snapshot):
                actions.append(.snapshot(node: snapshot.data.node, overlay: snapshot.data.overlay))
            case .blockdevSnapshotInternalSync(let snapshot): actions.append(.internalSnapshot(request(snapshot.data)))
            case .blockdevSnapshotSync(let snapshot): actions.append(.snapshotSync(request(snapshot.data)))
            }
        }
        do { try await graph.transaction(actions) } catch { throw QMPError(error) }
    }
}
