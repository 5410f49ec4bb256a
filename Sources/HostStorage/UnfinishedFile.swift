public import Block
import CLinux
import Glibc
public import HostIO

/// A new file that gets its name when it is finished: until then nobody finds it under it, and where the process ends, for
/// whatever reason, it is gone. Where the file system has no files without a name, it has another one meanwhile.
public final class UnfinishedFile {
    public let storage: FileStorage
    private let path: String
    /// The name that it has meanwhile; nil where it has none.
    private let passing: String?

    /// Makes the file in the folder where `path` will be. `options` are those that it is opened with.
    public init(_ path: String, _ options: FileOptions, on thread: IOThread) throws(OpenError) {
        guard HostPath.isWhole(path) else { throw Self.failure(path, ENOENT) }
        self.path = path
        var options = options
        // Proof: the path is lent as a C string for the call.
        let descriptor = unsafe nacre_open_unnamed(HostPath.folder(of: path), 0o644)
        if descriptor >= 0 {
            defer { Glibc.close(descriptor) }
            options.filename = "/proc/self/fd/\(descriptor)"
            if let storage = try? FileStorage(options, on: thread) {
                (self.storage, passing) = (storage, nil)
                return
            }
        } else if [ENOENT, ENOTDIR, EACCES, EROFS, ENOSPC, ENAMETOOLONG].contains(nacre_errno()) {
            throw Self.failure(path, nacre_errno())
        }
        let name = path + ".unfinished"
        // Proof: as above.
        let named = unsafe nacre_open(name, O_RDWR | O_CREAT | O_EXCL, 0o644)
        guard named >= 0 else { throw Self.failure(name, nacre_errno()) }
        Glibc.close(named)
        options.filename = name
        do throws(OpenError) { storage = try FileStorage(options, on: thread) } catch {
            Self.remove(name)
            throw error
        }
        passing = name
    }

    /// Gives the file its name; one that has come meanwhile is not replaced.
    public func finish() throws(OpenError) {
        // Proof: the paths are lent as C strings for the calls.
        guard let passing else {
            guard unsafe nacre_link_unnamed(storage.descriptor, path) == 0 else {
                throw Self.failure(path, nacre_errno())
            }
            return
        }
        guard unsafe link(passing, path) == 0 else {
            let code = nacre_errno()
            // A file system without links; between the look and the step somebody may come, which it cannot help.
            guard code == EPERM || code == EOPNOTSUPP, FileStorage.existingSize(path) == nil,
                unsafe rename(passing, path) == 0
            else { throw Self.failure(path, code) }
            return
        }
        Self.remove(passing)
    }

    /// Ends it without a name.
    public func abandon() {
        storage.closeFile()
        if let passing { Self.remove(passing) }
    }

    private static func failure(_ path: String, _ code: Int32) -> OpenError {
        OpenError("Could not create '\(path)': \(errnoText(code))", cause: BlockError(errno: code))
    }

    private static func remove(_ path: String) {
        // Proof: as above.
        _ = unsafe unlink(path)
    }
}

extension FileStorage {
    var descriptor: Int32 { file.descriptor }
}
