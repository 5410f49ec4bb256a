import CProgram
import Foundation

/// The file with the process's id: locked while the program runs, so that a second one is refused, and removed at its
/// end.
struct PIDFile {
    struct Failure: Error { let message: String }

    private let path: String
    private let file: FileHandle

    init(_ path: String) throws(Failure) {
        let manager = FileManager.default
        // Whole, for the process may leave its folder before it ends.
        let whole = path.hasPrefix("/") ? path : manager.currentDirectoryPath + "/" + path
        if !manager.fileExists(atPath: path),
            !manager.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600])
        {
            let folder = URL(filePath: path).deletingLastPathComponent().path
            let reason = manager.fileExists(atPath: folder) ? "Permission denied" : "No such file or directory"
            throw Failure(message: "Could not create '\(path)': \(reason)")
        }
        guard let file = FileHandle(forUpdatingAtPath: path) else {
            throw Failure(message: "Could not create '\(path)': Permission denied")
        }
        guard nacre_lock_file(file.fileDescriptor) == 0 else {
            throw Failure(message: "Cannot lock pid file '\(path)': Resource temporarily unavailable")
        }
        do {
            try file.truncate(atOffset: 0)
            try file.write(contentsOf: Data("\(ProcessInfo.processInfo.processIdentifier)\n".utf8))
        } catch {
            throw Failure(message: "Failed to write pid file '\(path)'")
        }
        self.path = whole
        self.file = file
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}
