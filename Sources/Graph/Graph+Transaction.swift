import Block

/// One action of `transaction`.
public enum GraphAction: Equatable, Sendable {
    /// `blockdev-snapshot`.
    case snapshot(node: String, overlay: String)
    /// `blockdev-snapshot-sync`.
    case snapshotSync(SnapshotSyncRequest)
    /// `blockdev-snapshot-internal-sync`.
    case internalSnapshot(InternalSnapshotRequest)
    /// The commands on dirty bitmaps.
    case bitmaps(BitmapAction)
    /// `abort`: fails, and so undoes the others. For tests of clients.
    case abort
}

extension Graph {
    /// Plans one action on what those before it have planned.
    func plan(_ action: GraphAction, in change: Change) async throws(OpenError) {
        switch action {
        case .snapshot(let node, let overlay):
            let base = try change.value.lookUp(device: node, nodeName: node)
            try change.value.checkNotBlocked(base)
            try await flushForSnapshot(base, in: change)
            let top = try change.value.lookUp(device: overlay, nodeName: overlay)
            try change.planSnapshot(of: base, overlay: top)
        case .snapshotSync(let request): try await planSnapshot(request, in: change)
        case .internalSnapshot(let request): try planSnapshot(request, in: change)
        case .bitmaps(let action): try change.plan(action)
        case .abort: throw OpenError("Transaction aborted using Abort action")
        }
    }
}
