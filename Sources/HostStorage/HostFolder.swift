public import Block
import CLinux
import Glibc
import HostIO

/// Folders of the host. All calls block for the time of the system calls.
public enum HostFolder {
    /// Where relative names start; `/` where the folder is gone.
    public static var current: String {
        // Proof: getcwd allocates the string it answers where it is given no room; it is copied and freed here.
        guard let path = unsafe getcwd(nil, 0) else { return "/" }
        defer { unsafe free(path) }
        return unsafe String(cString: path)
    }

    /// The names in a folder, without `.` and `..`, in no order; none where it cannot be read.
    public static func names(in path: String) -> [String] {
        guard HostPath.isWhole(path) else { return [] }
        // Proof: the stream is this function's own, closed at its end; an entry lives until the next is read, and its
        // name ends with a NUL.
        guard let stream = unsafe opendir(path) else { return [] }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// A new folder that is closed to others. Refused where there is something already, so nobody else can have made it.
    public static func makePrivate(_ path: String) throws(OpenError) { try make(path, mode: 0o700) }

    /// A folder and all above it that are missing.
    public static func makeWithParents(_ path: String) throws(OpenError) {
        var whole = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            whole += part + "/"
            if HostPath.kind(of: whole) != .folder { try make(whole, mode: 0o777) }
        }
    }

    private static func make(_ path: String, mode: mode_t) throws(OpenError) {
        guard HostPath.isWhole(path) else { throw OpenError("Could not create folder: \(errnoText(ENOENT))") }
        // Proof: the path is lent as a C string for the call.
        guard unsafe mkdir(path, mode) == 0 else {
            throw OpenError("Could not create folder '\(path)': \(errnoText(nacre_errno()))")
        }
    }

    /// Removes a folder of our own with the files in it. What cannot be removed stays.
    public static func remove(_ path: String) {
        for name in names(in: path) { HostPath.remove("\(path)/\(name)") }
        HostPath.remove(path)
    }
}
