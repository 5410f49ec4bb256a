public import Block
import Bytes

extension Qcow2Image {
    /// Shows the disk as it was at an internal snapshot from now on, in an image that was opened to be read: its own L1 table
    /// and its own size ("Snapshots" in the specification).
    public func show(_ snapshot: Snapshot) async throws(OpenError) {
        precondition(isReadOnly, "a snapshot is shown in place of a disk that nobody writes to")
        var table = try await Self.readTable(
            "L1 table of the snapshot", file, at: snapshot.l1TableOffset, count: Int(snapshot.l1Size))
        for index in table.indices where table[index] == L2Entry.copied { table[index] = 0 }
        l1 = table
        l2 = TableCache(indices: table.count, capacity: l2.capacity)
        length = (snapshot.diskSize ?? header.size) & ~511
        decoder.forget()
    }
}
