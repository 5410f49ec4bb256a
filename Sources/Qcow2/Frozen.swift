/// The changes that one commit writes, as they were when it began: what is changed meanwhile waits for the next.
///
/// Arrays are copied on write, so freezing costs nothing where tables are left alone until they are written.
struct Frozen {
    struct Block {
        let block: RefcountBlock
        let bytes: [UInt8]
        let wasNew: Bool
    }

    struct Table {
        let table: L2Table
        /// The table's place when it was frozen.
        let offset: UInt64
        let words: [UInt64]
        let mask: UInt64
        let wasNew: Bool
    }

    /// One sector of the L1 or the refcount table.
    struct Sector {
        let index: Int
        let entries: [UInt64]
    }

    var blocks: [Block] = []
    var refcountSectors: [Sector] = []
    var tables: [Table] = []
    var l1Sectors: [Sector] = []
    /// The new disk size, where it changed.
    var size: UInt64?
    var freed: [ClusterRun] = []
    /// What was freed may be reused once all requests of this generation have ended.
    var generation: UInt64 = 0

    /// Whether phase 1 is durable: from then on L1 entries on disk may name the new tables, which are new no more.
    var increasesAreDurable = false

    var changesMapping: Bool { !tables.allSatisfy(\.wasNew) || !l1Sectors.isEmpty }
}
