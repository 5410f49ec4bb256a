public import Qcow2

extension ImageInfo {
    /// What `info` prints for people. `localTime` turns seconds since 1970 into `YYYY-MM-DD hh:mm:ss` of this place.
    public func text(localTime: (UInt32) -> String) -> String {
        var lines = [
            "image: \(filename)", "file format: \(format)",
            "virtual size: \(SizeText.describe(virtualSize)) (\(virtualSize) bytes)",
            "disk size: \(actualSize.map(SizeText.describe) ?? "unavailable")",
        ]
        if isEncrypted { lines.append("encrypted: yes") }
        if let clusterSize { lines.append("cluster_size: \(clusterSize)") }
        if isDirty { lines.append("cleanly shut down: no") }
        if let backingFilename {
            let actual = fullBackingFilename.flatMap { $0 == backingFilename ? nil : " (actual path: \($0))" } ?? ""
            lines.append("backing file: \(backingFilename)\(actual)")
            if let backingFormat { lines.append("backing file format: \(backingFormat)") }
        }
        if !snapshots.isEmpty {
            lines.reserveCapacity(lines.count + snapshots.count + 64)
            lines.append("Snapshot list:")
            lines.append(Self.heading)
            for snapshot in snapshots { lines.append(snapshot.row(localTime)) }
        }
        if let qcow2 {
            lines.append("Format specific information:")
            lines += qcow2.lines.map { "    " + $0 }
        }
        lines.append("")
        return lines.joined(separator: "\n")
    }

    /// The list of snapshots, with its heading.
    public static func table(_ snapshots: [Snapshot], _ localTime: (UInt32) -> String) -> [String] {
        [heading] + snapshots.map { $0.row(localTime) }
    }

    private static let heading = row("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT")

    /// One line of the list of snapshots.
    static func row(
        _ id: String, _ tag: String, _ size: String, _ date: String, _ clock: String, _ icount: String
    ) -> String {
        "\(id.padded(9)) \(tag.padded(16)) \(size.padded(-8))\(date.padded(-20))\(clock.padded(-13))\(icount.padded(-11))"
    }
}

extension Qcow2Info {
    /// In the order in which QEMU prints them.
    var lines: [String] {
        var lines = ["compat: \(compat)", "compression type: \(compressionType)"]
        if let dataFile { lines.append("data file: \(dataFile)") }
        if let lazyRefcounts { lines.append("lazy refcounts: \(lazyRefcounts)") }
        if !bitmaps.isEmpty { lines.append("bitmaps:") }
        for (index, bitmap) in bitmaps.enumerated() {
            lines += ["    [\(index)]:", "        flags:"]
            lines += bitmap.flags.enumerated().map { "            [\($0.offset)]: \($0.element)" }
            lines += ["        name: \(bitmap.name)", "        granularity: \(bitmap.granularity)"]
        }
        lines.append("refcount bits: \(refcountBits)")
        if let isCorrupt { lines.append("corrupt: \(isCorrupt)") }
        if let extendedL2 { lines.append("extended l2: \(extendedL2)") }
        if let dataFileIsRaw { lines.append("data file raw: \(dataFileIsRaw)") }
        return lines
    }
}

extension Snapshot {
    fileprivate func row(_ localTime: (UInt32) -> String) -> String {
        let milliseconds = vmClockNs / 1_000_000
        let seconds = milliseconds / 1000
        func two(_ value: UInt64) -> String { value < 10 ? "0\(value)" : String(value) }
        let fraction = String(1000 + milliseconds % 1000).dropFirst()
        return ImageInfo.row(
            id, name, SizeText.describe(vmStateSize), localTime(dateSeconds),
            "\(two(seconds / 3600)):\(two(seconds / 60 % 60)):\(two(seconds % 60)).\(fraction)",
            instructionCount.map(String.init) ?? "")
    }
}

extension String {
    /// Filled with spaces to a width: behind the text, or before it where the width is negative.
    fileprivate func padded(_ width: Int) -> String {
        let fill = String(repeating: " ", count: max(0, abs(width) - count))
        return width < 0 ? fill + self : self + fill
    }
}
