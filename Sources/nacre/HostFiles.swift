import Block
import Foundation
import HostIO
import HostStorage
import Image

/// The image tool's files: the host's own, with QEMU's image locks.
final class HostFiles: ImageFiles {
    private let thread: IOThread

    init(_ thread: IOThread) { self.thread = thread }

    func open(_ path: String, _ use: FileUse) async throws(OpenError) -> ImageFile {
        let kind = Self.kind(path)
        guard kind != .pipe else { throw OpenError("'file' driver requires '\(path)' to be a regular file") }
        let file = try FileStorage(
            FileOptions(
                filename: path, isDevice: kind == .device, isReadOnly: !use.isWritable,
                direct: use.cache.isDirect, noFlush: use.cache == .unflushed, within: use.below.map { [$0] }), on: thread)
        try lock(file, path, use)
        return image(file, storage: file)
    }

    func create(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> ImageFile {
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

    func begin(_ path: String, _ attributes: FileAttributes, _ cache: CacheMode) async throws(OpenError) -> ImageFile {
        guard Self.kind(path) == nil else { return try await create(path, attributes) }
        let file = try UnfinishedFile(
            path, FileOptions(filename: path, direct: cache.isDirect, noFlush: cache == .unflushed), on: thread)
        do throws(OpenError) { try lock(file.storage, path, FileUse(isWritable: true)) } catch {
            file.abandon()
            throw error
        }
        file.storage.setAttributes(attributes)
        return ImageFile(
            storage: BlockIO(context: thread, driver: .storage(file.storage)),
            allocatedBytes: file.storage.allocatedBytes, identity: Self.identity(file.storage), isNew: true,
            close: { file.storage.closeFile() }, abandon: { file.abandon() },
            complete: { () async throws(OpenError) in try file.finish() })
    }

    var input: any BytePipe { HostPipe.input(on: thread) }
    var output: any BytePipe { HostPipe.output(on: thread) }

    private static func identity(_ file: FileStorage) -> String {
        "\(file.fileIdentity.device):\(file.fileIdentity.inode)"
    }

    /// `made`: the file that was not there before.
    private func image(_ file: FileStorage, storage: any Storage, made: String? = nil) -> ImageFile {
        ImageFile(
            storage: storage, allocatedBytes: file.allocatedBytes,
            identity: Self.identity(file), isNew: made != nil, close: { file.closeFile() },
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
