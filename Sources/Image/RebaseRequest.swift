/// `rebase`: the image, and what it shall stand on.
public struct RebaseRequest: Sendable {
    public let path: String
    public let format: String?
    /// The new backing file's name as it will stand in the image; empty for none. Nil too, where nothing is compared.
    public let backingFile: String?
    public let backingFormat: String?
    /// Whether only the name changes (`-u`): the disk reads as whatever that makes of it.
    public let isUnsafe: Bool
    /// Whether others may write to the new backing file meanwhile.
    public let forceShare: Bool

    public init(
        path: String, format: String?, backingFile: String?, backingFormat: String? = nil, isUnsafe: Bool = false,
        forceShare: Bool = false
    ) {
        self.path = path
        self.format = format
        self.backingFile = backingFile
        self.backingFormat = backingFormat
        self.isUnsafe = isUnsafe
        self.forceShare = forceShare
    }

    /// The name, where there shall be a backing file.
    var newName: String? { backingFile.flatMap { $0.isEmpty ? nil : $0 } }

    /// Names that an image may state as its backing file's format: those of the formats and protocols that QEMU knows.
    static let formats: Set<String> = [
        "blkdebug", "bochs", "cloop", "copy-on-read", "dmg", "file", "ftp", "ftps", "host_cdrom", "host_device", "http",
        "https", "iscsi", "luks", "nbd", "nfs", "null-aio", "null-co", "nvme", "parallels", "preallocate", "qcow",
        "qcow2",
        "qed", "quorum", "raw", "rbd", "replication", "ssh", "throttle", "vdi", "vhdx", "vmdk", "vpc", "vvfat",
    ]
}
