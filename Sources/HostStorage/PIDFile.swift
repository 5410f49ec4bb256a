public import Block
import CLinux
import Glibc
import HostIO

/// The file with the process's id: locked while the program runs, so that a second one is refused, and removed at its
/// end.
public struct PIDFile: Sendable {
    /// Whole, for the process may leave its folder before it ends.
    private let path: String

    public init(_ path: String) throws(OpenError) {
        // Proof: the path is lent as a C string for the call.
        let file = HostPath.isWhole(path) ? unsafe nacre_open(path, O_RDWR | O_CREAT, 0o600) : -1
        guard file >= 0 else { throw OpenError("Could not create '\(path)': \(errnoText(nacre_errno()))") }
        // The lock is the process's own and lasts as long as it: so the descriptor stays open.
        guard nacre_lock_file(file) == 0 else {
            Glibc.close(file)
            throw OpenError("Cannot lock pid file '\(path)': Resource temporarily unavailable")
        }
        guard ftruncate(file, 0) == 0, HostText.write(Array("\(HostProcess.id)\n".utf8), to: file) == nil else {
            Glibc.close(file)
            throw OpenError("Failed to write pid file '\(path)'")
        }
        self.path = HostPath.absolute(path)
    }

    public func remove() { HostPath.remove(path) }
}
