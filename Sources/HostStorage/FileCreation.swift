public import Block
import Bytes
import CLinux
import Glibc
public import HostIO
import Logging

/// A new host file: what `blockdev-create` of the driver `file` makes.
public struct FileCreation: Equatable, Sendable {
    public var filename: String
    /// Bytes.
    public var size: UInt64
    public var preallocation: Preallocation
    public var attributes: FileAttributes

    public init(
        filename: String, size: UInt64, preallocation: Preallocation = .off,
        attributes: FileAttributes = FileAttributes()
    ) {
        self.filename = filename
        self.size = size
        self.preallocation = preallocation
        self.attributes = attributes
    }
}

extension FileStorage {
    /// Makes a file, or empties the one that is there, unless somebody uses it. A file that was not there before and cannot
    /// be given its size and room is gone again. Room that is written keeps to `pace`.
    public static func create(_ creation: FileCreation, on thread: IOThread, pace: Pace) async throws(OpenError) {
        if creation.preallocation == .metadata { throw OpenError("Unsupported preallocation mode: metadata") }
        let isNew = existingSize(creation.filename) == nil
        try makeFile(creation.filename)
        let file = try FileStorage(FileOptions(filename: creation.filename), on: thread)
        defer { file.closeFile() }
        do throws(OpenError) {
            try file.acquirePermissions(
                used: [.write, .resize], shared: [.consistentRead, .write, .writeUnchanged])
            try await file.begin(creation, pace)
        } catch {
            if isNew { remove(creation.filename) }
            throw error
        }
    }

    private func begin(_ creation: FileCreation, _ pace: Pace) async throws(OpenError) {
        func step(_ text: String, _ body: () async throws(BlockError) -> Void) async throws(OpenError) {
            do throws(BlockError) { try await body() } catch {
                throw OpenError("\(text): \(errnoText(error.errno))", cause: error)
            }
        }
        try await step("Could not clear file") { () async throws(BlockError) in try await resize(to: 0) }
        setAttributes(creation.attributes)
        let range = ByteRange(at: 0, count: creation.size)
        try await step("Could not resize file") { () async throws(BlockError) in try await resize(to: range.end) }
        let walker = BlockIO(context: thread, driver: .storage(self))
        defer { walker.retire() }
        let failure =
            creation.preallocation == .full
            ? "Could not write zeros for preallocation" : "Could not preallocate data for the new file"
        try await step(failure) { () async throws(BlockError) in
            try await walker.occupy(range, creation.preallocation, pace: pace)
        }
        try await step("Could not flush file to disk") { () async throws(BlockError) in try await flush() }
    }

    /// Tells the file system what it may know to do with an empty file. Where it does not, the file is none the worse.
    public func setAttributes(_ attributes: FileAttributes) {
        if attributes.noCopyOnWrite { _ = nacre_set_no_cow(file.descriptor) }
        guard attributes.extentSizeHint > 0 else { return }
        if nacre_set_extent_size(file.descriptor, attributes.extentSizeHint) != 0, attributes.isHintAsked {
            Logger(label: "nacre.file").warning(
                "\(filename): the extent size hint cannot be set: \(errnoText(nacre_errno()))")
        }
    }

    private static func remove(_ filename: String) {
        // Proof: the path is lent as a C string for the call.
        _ = unsafe unlink(filename)
    }
}
