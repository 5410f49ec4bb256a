public import Block
import CLinux
import Glibc
import HostIO

extension FileStorage {
    /// Makes a regular file where there is none, for the owner to write and everybody to read as far as the umask lets
    /// them. What is there is left as it is. Blocks for the time of the system calls.
    public static func makeFile(_ filename: String) throws(OpenError) {
        // Proof: the path is lent as a C string for the call.
        let descriptor = HostPath.isWhole(filename) ? unsafe nacre_open(filename, O_RDWR | O_CREAT, 0o644) : -1
        guard descriptor >= 0 else {
            let code = HostPath.isWhole(filename) ? nacre_errno() : ENOENT
            throw OpenError("Could not create '\(filename)': \(errnoText(code))", cause: BlockError(errno: code))
        }
        Glibc.close(descriptor)
    }

    /// Bytes that the file takes on its host, nil where the host does not say.
    public var allocatedBytes: UInt64? {
        var info = stat()
        // Proof: one local structure.
        guard !file.isDevice, unsafe fstat(file.descriptor, &info) == 0 else { return file.isDevice ? 0 : nil }
        return UInt64(clamping: info.st_blocks) * 512
    }

    /// The size of what is at the path, links followed; nil where there is nothing.
    public static func existingSize(_ filename: String) -> UInt64? {
        var info = stat()
        // Proof: one local structure, and a string lent for the call.
        guard HostPath.isWhole(filename), unsafe stat(filename, &info) == 0 else { return nil }
        return UInt64(clamping: info.st_size)
    }

    /// Whether the path is a block or character device, links followed.
    public static func isDevice(_ filename: String) -> Bool {
        var info = stat()
        // Proof: as above.
        guard HostPath.isWhole(filename), unsafe stat(filename, &info) == 0 else { return false }
        return info.st_mode & S_IFMT == S_IFBLK || info.st_mode & S_IFMT == S_IFCHR
    }
}
