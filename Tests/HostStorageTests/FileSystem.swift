import Glibc
import HostTestKit

/// A file system of a test's own, mounted on a folder; it goes away with the test. Needs root.
final class FileSystem: Sendable {
    enum Kind: String, CaseIterable, Sendable { case tmpfs, ext4, xfs, btrfs }

    let folder = Folder()
    private let store = Folder()

    /// The smallest that every kind can be made: XFS asks for 300 MiB. What is not written takes no room.
    static let smallestKibibytes = 320 << 10

    /// Nil where the host does not let us mount it, or has no tool that makes it.
    init?(_ kind: Kind, kibibytes: Int = smallestKibibytes) {
        if kind == .tmpfs {
            let made = program("mount", "-t", "tmpfs", "-o", "size=\(kibibytes)k", "tmpfs", folder.path)
            guard made.status == 0 else { return nil }
        } else {
            let disk = store.make("disk")
            // Proof: the path is lent as a C string for the call.
            guard unsafe truncate(disk, kibibytes << 10) == 0 else { return nil }
            guard program("mkfs.\(kind.rawValue)", "-q", disk).status == 0 else { return nil }
            guard program("mount", "-o", "loop", disk, folder.path).status == 0 else { return nil }
        }
    }

    deinit { program("umount", "-l", folder.path) }
}
