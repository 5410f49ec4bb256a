import Block
import Daemon
import Foundation
import HostIO
import HostStorage
import Image
import NBDClient

/// The image tool's files: the host's own, with QEMU's image locks.
final class HostFiles: ImageFiles {
    private let thread: IOThread

    init(_ thread: IOThread) { self.thread = thread }

    func open(_ path: String, _ use: FileUse) async throws(OpenError) -> ImageFile {
        if let remote = try NBDName.parse(path) { return try await open(remote, use) }
        let kind = Self.kind(path)
        guard kind != .pipe else { throw OpenError("'file' driver requires '\(path)' to be a regular file") }
        let file = try FileStorage(
            FileOptions(
                filename: path, isDevice: kind == .device, isReadOnly: !use.isWritable,
                within: use.below.map { [$0] }), on: thread)
        try lock(file, path, use)
        return image(file, storage: file)
    }

    func create(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> ImageFile {
        if let remote = try NBDName.parse(path) {
            throw OpenError("Protocol driver 'nbd' does not support creating images: \(remote.server.text)")
        }
        let kind = Self.kind(path)
        if kind == nil { try FileStorage.makeFile(path) }
        let file = try FileStorage(FileOptions(filename: path, isDevice: kind == .device), on: thread)
        try lock(file, path, FileUse(isWritable: true))
        do {
            // A device keeps its length; its old contents are the format's to clear.
            if kind != .device { try await file.resize(to: 0) }
        } catch {
            throw OpenError("Could not create '\(path)': \(errnoText(error.errno))", cause: error)
        }
        if kind != .device { file.setAttributes(attributes) }
        // The walker writes zeros as data where the host has no faster way.
        return image(file, storage: BlockIO(context: thread, driver: .storage(file)), made: kind == nil ? path : nil)
    }

    /// A remote export, which only the user can have named: images name plain files.
    private func open(_ remote: NBDRemoteOptions, _ use: FileUse) async throws(OpenError) -> ImageFile {
        let thread = thread
        let storage = try await NBDRemote.open(
            remote, in: thread,
            dial: { (ms) async throws(OpenError) in
                try await Socket.connect(to: SocketAddress(remote.server), withinMs: ms, on: thread)
            })
        guard !use.isWritable || !storage.isReadOnly else {
            await storage.close()
            throw OpenError("Could not open image: Permission denied", cause: .permission)
        }
        return ImageFile(
            storage: BlockIO(context: thread, driver: .storage(storage)), allocatedBytes: nil,
            identity: "nbd:\(remote.server.text):\(remote.export ?? "")", close: { await storage.close() })
    }

    /// `made`: the file that was not there before.
    private func image(_ file: FileStorage, storage: any Storage, made: String? = nil) -> ImageFile {
        ImageFile(
            storage: storage, allocatedBytes: file.allocatedBytes,
            identity: "\(file.fileIdentity.device):\(file.fileIdentity.inode)", close: { file.closeFile() },
            abandon: {
                file.closeFile()
                if let made { try? FileManager.default.removeItem(atPath: made) }
            })
    }

    private func lock(_ file: FileStorage, _ path: String, _ use: FileUse) throws(OpenError) {
        let used: LockPermissions = use.isWritable ? [.consistentRead, .write, .resize] : [.consistentRead]
        do {
            try file.acquirePermissions(
                used: used, shared: use.forceShare ? .all : [.consistentRead, .writeUnchanged])
        } catch {
            throw OpenError("\(error.message)\nIs another process using the image [\(path)]?", cause: error.cause)
        }
    }

    // MARK: paths

    private enum Kind { case device, pipe, other }

    /// Nil where there is nothing.
    private static func kind(_ path: String) -> Kind? {
        let target = URL(filePath: path).resolvingSymlinksInPath().path
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: target) else { return nil }
        switch attributes[.type] as? FileAttributeType {
        case .typeBlockSpecial: return .device
        case .typeRegular, .typeDirectory: return .other
        default: return .pipe
        }
    }
}
