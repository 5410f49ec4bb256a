/// A run of host clusters.
struct ClusterRun: Equatable {
    var start: UInt64
    var count: UInt64
    var end: UInt64 { start + count }
}

extension [ClusterRun] {
    /// Adds a run, joined to the last one where it continues it. The same cluster may be in several runs.
    mutating func add(_ run: ClusterRun) {
        if let last = self.last, last.end == run.start {
            self[count - 1].count += run.count
        } else if run.count > 0 {
            append(run)
        }
    }
}

/// What was freed, on its way back to the allocator (rules O4, O5, O17):
/// open (mappings removed in memory) → applied (the removal is durable, refcounts lowered) → durable and no old request
/// under way → handed out to be punched → free.
struct FreedClusters {
    /// References dropped since the last freeze, one per run member; refcounts still count them.
    var open: [ClusterRun] = []
    private(set) var openClusters: UInt64 = 0

    /// One epoch's clusters whose refcount has reached zero.
    struct Batch {
        let generation: UInt64
        var runs: [ClusterRun]
        /// Whether the lowered refcounts are durable.
        var isDurable = false
    }
    var batches: [Batch] = []
    /// Handed out, not yet released.
    var handedOut: [ClusterRun] = []
    /// Clusters with refcount zero that must not be taken: those of `batches` and `handedOut`.
    var held = ClusterSet()
    /// Told of every reference that is dropped, while a check beside the writers wants to know.
    var watch: ClusterWatch?

    /// Whether a commit has something to do here.
    var isPending: Bool { !open.isEmpty || !batches.isEmpty }

    mutating func add(_ run: ClusterRun) {
        open.add(run)
        openClusters += run.count
        if let watch { for cluster in run.start..<run.end { watch.note(cluster) } }
    }

    /// Takes the open epoch.
    mutating func freeze() -> [ClusterRun] {
        defer {
            open = []
            openClusters = 0
        }
        return open
    }

    /// References whose epoch could not be ended come back.
    mutating func restore(_ runs: [ClusterRun]) {
        let since = open
        open = runs
        open.append(contentsOf: since)
        openClusters = open.reduce(0) { $0 + $1.count }
    }

    mutating func markDurable() {
        for index in batches.indices { batches[index].isDurable = true }
    }

    /// Takes the clusters that may be punched now.
    mutating func handOut(where hasEnded: (UInt64) -> Bool) -> [ClusterRun] {
        var runs: [ClusterRun] = []
        batches.removeAll { batch in
            guard batch.isDurable, hasEnded(batch.generation) else { return false }
            for run in batch.runs { runs.add(run) }
            return true
        }
        handedOut.append(contentsOf: runs)
        return runs
    }
}
