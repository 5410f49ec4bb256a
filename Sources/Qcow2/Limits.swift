/// Bounds on what an image may claim, all checked before anything is allocated (docs/reliability.md §4).
public enum Limits {
    /// 512 bytes.
    public static let minClusterBits: UInt32 = 9
    /// 2 MiB.
    public static let maxClusterBits: UInt32 = 21
    /// Bytes of the smallest subcluster: a sector.
    public static let minSubcluster: UInt64 = 512
    /// Bytes of an L1 table, the active one or a snapshot's.
    public static let l1Bytes: UInt64 = 32 << 20
    /// Bytes of the refcount table.
    public static let refcountTableBytes: UInt64 = 8 << 20
    /// Internal snapshots.
    public static let snapshots: UInt32 = 65536
    /// Bytes of the snapshot table.
    public static let snapshotTableBytes: UInt64 = 64 << 20
    /// Bytes of a snapshot's extra data.
    public static let snapshotExtraBytes: UInt32 = 1024
    /// Bytes of memory that the list of snapshots may take.
    public static let snapshotListBytes = 16 << 20
    /// Bytes of a new snapshot's name: one less than QEMU's buffer.
    public static let snapshotNameBytes = 255
    /// Bytes of the L1 tables of all snapshots that a check walks, each counted once: 65 536 snapshots of a disk of 1 TiB
    /// with 64 KiB clusters have as many.
    public static let checkedL1Bytes: UInt64 = 1 << 30
    /// Bytes of all bitmap tables that a check walks; one bitmap of QEMU's largest has 8 MiB at most.
    public static let checkedBitmapTableBytes: UInt64 = 1 << 30
    /// L1 entries that name a table where no cluster begins and that a check follows all the same.
    public static let strayTables = 4096
    /// Persistent bitmaps.
    public static let bitmaps: UInt32 = 65535
    /// Bytes of the bitmap directory.
    public static let bitmapDirectoryBytes: UInt64 = 64 << 20
    /// Bytes of memory that the list of bitmaps may take.
    public static let bitmapListBytes = 16 << 20
    /// Bytes of one bitmap's bits, as QEMU has it; its table then has a million entries at most.
    public static let bitmapBytes: UInt64 = 512 << 20
    /// log2 of a bitmap's granularity: 512 bytes to 2 GiB.
    public static let bitmapGranularityBits = 9...31
    /// Bytes of a bitmap's name.
    public static let bitmapNameBytes = 1023
    /// Header extensions; each costs a little, and a 2 MiB header could hold 130 000 empty ones.
    public static let headerExtensions = 256
    /// Bytes of the fixed header with fields we do not know.
    public static let headerBytes: UInt32 = 4096
    /// Bytes of a backing file's name.
    public static let backingNameBytes: UInt32 = 1023
    /// Bytes of a backing format's name, one less than QEMU's buffer.
    public static let backingFormatBytes = 15
    /// Host offsets fit 56 bits.
    public static let hostOffset: UInt64 = 1 << 56
}
