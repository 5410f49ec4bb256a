import Block

extension Snapshot {
    /// The entry of a snapshot that is about to be made of the active state.
    init(_ new: NewSnapshot, id: String, of header: Header) {
        self.init(
            l1TableOffset: header.l1TableOffset, l1Size: header.l1Size, id: id,
            name: String(decoding: new.name.utf8.prefix(Limits.snapshotNameBytes), as: UTF8.self),
            dateSeconds: new.dateSeconds, dateNanoseconds: new.dateNanoseconds, vmClockNs: new.vmClockNs,
            vmStateSize: 0, diskSize: header.size, instructionCount: new.instructionCount)
    }

    /// Its entry of the snapshot table, without padding ("Snapshots"): version 3 demands the disk's size in the extra data;
    /// it and the instruction count stand there in version 2 as well, as QEMU has it.
    var encoded: [UInt8] {
        let (id, name) = (Array(id.utf8), Array(name.utf8))
        var bytes: [UInt8] = []
        bytes.append(l1TableOffset, 8)
        bytes.append(UInt64(l1Size), 4)
        bytes.append(UInt64(id.count), 2)
        bytes.append(UInt64(name.count), 2)
        bytes.append(UInt64(dateSeconds), 4)
        bytes.append(UInt64(dateNanoseconds), 4)
        bytes.append(vmClockNs, 8)
        // What has no room here has it in the extra data.
        bytes.append(vmStateSize > UInt64(UInt32.max) ? 0 : vmStateSize, 4)
        bytes.append(24, 4)
        bytes.append(vmStateSize, 8)
        bytes.append(diskSize ?? 0, 8)
        bytes.append(instructionCount ?? .max, 8)
        return bytes + id + name
    }
}

extension [Snapshot] {
    /// The one of this id; throws `system(ENOENT)` where there is none.
    func with(id: String) throws(BlockError) -> Snapshot {
        guard let snapshot = first(where: { $0.id == id }) else { throw .system(2) }
        return snapshot
    }

    /// The snapshot table: entries as they are stored, each from a multiple of 8 on.
    var table: [UInt8] {
        var bytes: [UInt8] = []
        for snapshot in self {
            bytes.append(contentsOf: repeatElement(0, count: (8 - bytes.count % 8) % 8))
            bytes.append(contentsOf: snapshot.stored)
        }
        return bytes
    }
}

extension [UInt8] {
    /// Appends the low `count` bytes of a number, the highest first.
    fileprivate mutating func append(_ value: UInt64, _ count: UInt64) {
        for byte in (0..<count).reversed() { append(UInt8(truncatingIfNeeded: value >> (8 * byte))) }
    }
}
