/// `rebase`: the image, and what it shall stand on.
public struct RebaseRequest: Sendable {
    public let image: ImageReference
    /// The new backing file's name as it will stand in the image; empty for none. Nil too, where nothing is compared.
    public let backingFile: String?
    public let backingFormat: String?
    /// Where the new backing file is to be found, where its name is no plain one; nil: from the image's folder.
    public let backing: ImageReference?
    /// Whether only the name changes (`-u`): the disk reads as whatever that makes of it.
    public let isUnsafe: Bool
    /// How the new backing file is opened: whether others may write to it meanwhile, and its cache mode.
    public let forceShare: Bool
    public let backingCache: CacheMode

    public init(
        image: ImageReference, backingFile: String?, backingFormat: String? = nil, backing: ImageReference? = nil,
        isUnsafe: Bool = false, forceShare: Bool = false, backingCache: CacheMode = .writeback
    ) {
        self.image = image
        self.backingFile = backingFile
        self.backingFormat = backingFormat
        self.backing = backing
        self.isUnsafe = isUnsafe
        self.forceShare = forceShare
        self.backingCache = backingCache
    }

    /// The name, where there shall be a backing file.
    var newName: String? { backingFile.flatMap { $0.isEmpty ? nil : $0 } }

    /// Names that an image may state as its backing file's format: those of the formats and protocols that QEMU knows.
    static let formats: Set<String> = [
        "blkdebug", "bochs", "cloop", "copy-on-read", "dmg", "file", "ftp", "ftps", "host_cdrom", "host_device", "http",
        "https", "iscsi", "luks", "nbd", "nfs", "null-aio", "null-co", "nvme", "parallels", "preallocate", "qcow",
        "qcow2", "qed", "quorum", "raw", "rbd", "replication", "ssh", "throttle", "vdi", "vhdx", "vmdk", "vpc", "vvfat",
    ]
}
