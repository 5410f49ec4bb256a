public import Block
import HostIO

extension FileStorage {
    /// Takes the image locks for the permissions; what was held is kept until `releasePermissions`. Throws
    /// `Failed to get "write" lock` and its like, with nothing changed, and with who may stand in the way for a hint.
    public func acquirePermissions(used: LockPermissions, shared: LockPermissions) throws(OpenError) {
        guard file.options.locking != .off else { return }
        do { try file.lock.acquire(used: used, shared: shared) } catch {
            throw OpenError(error.message, cause: .busy, hint: hint(lockedByte: error.byte))
        }
    }

    /// QEMU's question, and the answer where it is wanted and the kernel knows it.
    private func hint(lockedByte byte: Int64) -> String {
        let question = "Is another process using the image [\(filename)]?"
        guard file.options.namesHolders else { return question }
        let holders = LockHolder.all(of: fileIdentity, byte: byte)
        return holders.isEmpty ? question : question + "\n" + LockHolder.sentence(holders)
    }

    /// Gives up the locks that these permissions no longer need.
    public func releasePermissions(used: LockPermissions, shared: LockPermissions) {
        guard file.options.locking != .off else { return }
        file.lock.release(used: used, shared: shared)
    }

    /// A file opened with other options, ready to take this one's place: it holds the same locks.
    public final class Reopened {
        let file: OpenedFile
        public var isReadOnly: Bool { file.isReadOnly }
        init(_ file: OpenedFile) { self.file = file }
    }

    /// Opens the same file with other options. The filename must be the same. Nothing changes until `commit`; dropping
    /// the result gives up.
    public func prepareReopen(_ options: FileOptions) throws(OpenError) -> Reopened {
        let opened = try OpenedFile(options, from: sets)
        guard opened.identity == fileIdentity else {
            throw OpenError("Could not reopen '\(filename)': it is another file now")
        }
        if options.locking != .off {
            // The new descriptor's locks stand beside the old one's: taken without asking whether they conflict.
            opened.lock.adopt(file.lock)
        }
        return Reopened(opened)
    }

    /// Requests have been drained; from here on they go to the reopened file.
    public func commit(_ reopened: Reopened) { replace(reopened.file) }
}
