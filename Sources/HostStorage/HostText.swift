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

    /// The first bytes of a file or block device, `count` where it has so many.
    public static func start(of filename: String, _ count: Int) throws(OpenError) -> [UInt8] {
        // Proof: the path is lent as a C string for the call.
        let descriptor = HostPath.isWhole(filename) ? unsafe nacre_open(filename, O_RDONLY | O_NONBLOCK, 0) : -1
        guard descriptor >= 0 else { throw OpenError(errnoText(nacre_errno())) }
        defer { Glibc.close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: count)
        // Proof: the array has room for its count.
        let got = unsafe bytes.withUnsafeMutableBytes { unsafe pread(descriptor, $0.baseAddress, $0.count, 0) }
        guard got >= 0 else { throw OpenError(errnoText(nacre_errno())) }
        return Array(bytes.prefix(got))
    }

    /// Writes all of a text to a descriptor, and waits for whoever takes it. Ends where it takes no more.
    public static func write(_ text: String, to descriptor: Int32) {
        // In pieces: a list of all that an image claims to have is long, and is not copied whole.
        var rest = text.utf8[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(64 << 10))
            guard write(piece, to: descriptor) == nil else { return }
            rest = rest.dropFirst(piece.count)
        }
    }

    /// Makes a file that has just this text, or gives it to the one that is there.
    public static func write(_ text: String, asFile path: String) throws(OpenError) {
        // Proof: the path is lent as a C string for the call.
        let file = HostPath.isWhole(path) ? unsafe nacre_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o666) : -1
        guard file >= 0 else { throw OpenError("Could not create '\(path)': \(errnoText(nacre_errno()))") }
        let failure = write(Array(text.utf8), to: file)
        let closed = Glibc.close(file)
        if let code = failure ?? (closed < 0 ? nacre_errno() : nil) {
            throw OpenError("Could not write '\(path)': \(errnoText(code))")
        }
    }

    /// An errno where not all could be written.
    static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
        var rest = bytes[...]
        while !rest.isEmpty {
            // Proof: the array lives through the call.
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if nacre_errno() == EAGAIN {
                var question = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                // Proof: one local structure.
                _ = unsafe poll(&question, 1, -1)
            } else if nacre_errno() != EINTR {
                return nacre_errno()
            }
        }
        return nil
    }

    /// Writes text to standard output, as far as that takes it without waiting.
    public static func say(_ text: String) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            var question = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
            // Proof: one local structure; the array lives through the call. What polls as writable takes a page.
            guard unsafe poll(&question, 1, 0) == 1, question.revents & Int16(POLLOUT) != 0 else { return }
            let count = unsafe rest.prefix(Int(PIPE_BUF)).withUnsafeBytes {
                unsafe Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count)
            }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
