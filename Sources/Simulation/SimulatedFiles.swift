import Block
import BlockTestKit
import Image

/// Simulated disks by name, as the image tool reaches them.
final class SimulatedFiles: ImageFiles {
    private let context: SimulatedContext
    private let options: SimDisk.Options
    private(set) var disks: [String: SimDisk] = [:]
    /// What shall fail on all of them.
    let faults = FaultPlan()

    init(_ context: SimulatedContext, _ contents: [String: SparseBytes] = [:], _ options: SimDisk.Options) {
        self.context = context
        self.options = options
        for (index, name) in contents.keys.sorted().enumerated() {
            disks[name] = disk(contents[name] ?? SparseBytes(), UInt64(index))
        }
    }

    private func disk(_ contents: SparseBytes, _ number: UInt64) -> SimDisk {
        var options = options
        options.seed ^= number
        let disk = SimDisk(context, contents: contents, options)
        disk.faults = faults
        return disk
    }

    func open(_ path: String, _ use: FileUse) async throws(OpenError) -> ImageFile {
        guard let disk = disks[path] else {
            throw OpenError("Could not open '\(path)': No such file or directory", cause: .system(2))
        }
        return file(disk, path)
    }

    func create(_ path: String, _ attributes: FileAttributes) async throws(OpenError) -> ImageFile {
        let disk = disk(SparseBytes(), UInt64(disks.count))
        disks[path] = disk
        return file(disk, path)
    }

    private func file(_ disk: SimDisk, _ path: String) -> ImageFile {
        ImageFile(storage: disk, allocatedBytes: nil, identity: path, close: {})
    }
}
