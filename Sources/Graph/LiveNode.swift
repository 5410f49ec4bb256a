import Block
import Filters
import Qcow2

/// What stands behind a node: the open file or image, and the walker that requests on it run through.
final class LiveNode {
    enum Driver {
        case file(any HostFile)
        case null(NullStorage)
        case raw(RawFormat)
        case qcow2(Qcow2Image)
        case faults(FaultPlanner)
    }

    var driver: Driver
    var walker: BlockIO
    /// What the image's observer calls the node; names do not change.
    let name: String

    init(_ driver: Driver, walker: BlockIO, name: String) {
        self.driver = driver
        self.walker = walker
        self.name = name
    }

    /// The host file, where the node is one.
    var host: (any HostFile)? {
        if case .file(let file) = driver { return file }
        return nil
    }

    var image: Qcow2Image? {
        if case .qcow2(let image) = driver { return image }
        return nil
    }

    /// Writes back, ends, and gives back what it holds. Its children are still open; nobody uses it any more.
    func close() async throws(BlockError) {
        await walker.pause()
        switch driver {
        case .file(let file): await file.close()
        case .qcow2(let image):
            // What the image frees as it ends is punched as by any flush.
            try? await walker.finish()
            try await image.close()
        case .null, .raw, .faults: break
        }
    }
}
