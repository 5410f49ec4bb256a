import CLinux
import Glibc

/// Where paths lead on this host.
public enum HostPath {
    /// The path with all links resolved; nil where it leads nowhere.
    public static func real(_ path: String) -> String? {
        guard isWhole(path) else { return nil }
        // Proof: realpath allocates the string it answers; it is copied and freed here.
        guard let resolved = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(resolved) }
        return unsafe String(cString: resolved)
    }

    /// Whether libc is told all of the path: a NUL, which JSON can write, would end it early, and another file be meant.
    static func isWhole(_ path: String) -> Bool { !path.utf8.contains(0) }

    /// Whether `path` lies in one of the folders or below, links resolved on both sides. What does not exist lies nowhere.
    public static func lies(_ path: String, in folders: [String]) -> Bool {
        guard let real = real(path) else { return false }
        return lies(real: real, in: folders)
    }

    private static func lies(real: String, in folders: [String]) -> Bool {
        folders.contains { folder in
            guard let base = Self.real(folder) else { return false }
            return base == "/" || real == base || real.hasPrefix(base + "/")
        }
    }

    /// open(2). With `folders`, what is opened lies in one of them: the path is resolved and judged first, and then
    /// opened so that a link put in its way meanwhile is an error (ELOOP). Answers a descriptor or a negative errno.
    static func open(_ path: String, _ flags: Int32, within folders: [String]?) -> Int32 {
        guard isWhole(path) else { return -ENOENT }
        // Proof: the paths are lent as C strings for the calls.
        guard let folders else {
            let descriptor = unsafe nacre_open(path, flags, 0)
            return descriptor >= 0 ? descriptor : -nacre_errno()
        }
        guard let real = real(path) else { return -nacre_errno() }
        guard lies(real: real, in: folders) else { return -EXDEV }
        let descriptor = unsafe nacre_open_without_links(real, flags)
        return descriptor >= 0 ? descriptor : -nacre_errno()
    }
}
