public import Block
import CLinux
import Glibc
import HostIO

/// Small texts of the host: files that are read whole, and the program's standard output.
public enum HostText {
    /// The bytes of a regular file of at most `limit` bytes. The error has a cause where it could not be opened. Blocks for
    /// the time of the system calls.
    public static func contents(of filename: String, atMost limit: Int) throws(OpenError) -> [UInt8] {
        // Proof: the path is lent as a C string for the call.
        let descriptor = unsafe nacre_open(filename, O_RDONLY | O_NONBLOCK, 0)
        guard descriptor >= 0 else {
            let code = nacre_errno()
            throw OpenError(errnoText(code), cause: BlockError(errno: code))
        }
        defer { Glibc.close(descriptor) }
        var info = stat()
        // Proof: one local structure.
        guard unsafe fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            throw OpenError("it is not a regular file")
        }
        var bytes = [UInt8](repeating: 0, count: limit + 1)
        var count = 0
        while count < bytes.count {
            // Proof: the array has room for what is left of its count.
            let got = unsafe bytes.withUnsafeMutableBytes { memory in
                unsafe read(descriptor, memory.baseAddress?.advanced(by: count), memory.count - count)
            }
            if got < 0 { throw OpenError(errnoText(nacre_errno())) }
            if got == 0 { break }
            count += got
        }
        guard count <= limit else { throw OpenError("it has more than \(limit) bytes") }
        return Array(bytes.prefix(count))
    }

    /// Writes text to standard output, as far as that takes it without waiting.
    public static func say(_ text: String) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            var question = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
            // Proof: one local structure; the array lives through the call. What polls as writable takes a page.
            guard unsafe poll(&question, 1, 0) == 1, question.revents & Int16(POLLOUT) != 0 else { return }
            let count = unsafe rest.prefix(Int(PIPE_BUF)).withUnsafeBytes {
                unsafe write(STDOUT_FILENO, $0.baseAddress, $0.count)
            }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
