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

    /// What a path leads to.
    public enum Kind: Sendable { case file, blockDevice, folder, other }

    /// What the path leads to, links followed; nil where it leads nowhere.
    public static func kind(of path: String) -> Kind? {
        guard isWhole(path) else { return nil }
        var info = stat()
        // Proof: one local structure, and a string lent for the call.
        guard unsafe stat(path, &info) == 0 else { return nil }
        return switch info.st_mode & S_IFMT {
        case S_IFREG: .file
        case S_IFBLK: .blockDevice
        case S_IFDIR: .folder
        default: .other
        }
    }

    /// Where a symbolic link points to, as it says; nil where there is none.
    static func destination(of link: String) -> String? {
        guard isWhole(link) else { return nil }
        var text = [CChar](repeating: 0, count: Int(PATH_MAX))
        // Proof: the array has room for its count, and is lent for the call.
        let count = unsafe readlink(link, &text, text.count)
        return count < 0 ? nil : String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The path from the root on, without `.` and doubled slashes. `..` stays: behind a link it leads elsewhere.
    public static func absolute(_ path: String) -> String {
        let whole = path.hasPrefix("/") ? path : HostFolder.current + "/" + path
        return "/" + whole.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    }

    /// The folder that a path lies in, by its text.
    public static func folder(of path: String) -> String {
        let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        return folder.isEmpty ? (path.hasPrefix("/") ? "/" : ".") : folder
    }

    /// Removes a file, or a folder with nothing in it. What cannot be removed stays.
    public static func remove(_ path: String) {
        guard isWhole(path) else { return }
        // Proof: the path is lent as a C string for the call.
        _ = unsafe Glibc.remove(path)
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
