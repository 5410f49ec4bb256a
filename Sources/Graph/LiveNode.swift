import Block
import DirtyMap
import Filters
import NBDClient
import Qcow2

/// What stands behind a node: the open file or image, and the walker that requests on it run through.
final class LiveNode {
    enum Driver {
        case file(any HostFile)
        case null(NullStorage)
        case remote(NBDRemote)
        case raw(RawFormat)
        case qcow2(Qcow2Image)
        case faults(FaultPlanner)
        case throttle(ThrottleMember)
        /// With the lowest node that is copied from.
        case copyOnRead(bottom: NodeID?)
        case compress
        case preallocate(PreallocateState)
    }

    var driver: Driver
    var walker: BlockIO
    /// The dirty bitmaps; they stay with the node, whatever is put on it.
    let bitmaps: NodeBitmaps
    /// What the image's observer calls the node; names do not change.
    let name: String

    init(_ driver: Driver, walker: BlockIO, bitmaps: NodeBitmaps, name: String) {
        self.driver = driver
        self.walker = walker
        self.bitmaps = bitmaps
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

    /// Writes back, makes durable, ends, and gives back what it holds. Its children are still open; nobody uses it any
    /// more. All of it is done whatever fails; the first failure is thrown.
    func close() async throws(BlockError) {
        await walker.pause()
        var failure: BlockError?
        if !walker.options.isReadOnly, keepsData {
            do { try await walker.finish() } catch { failure = error }
        }
        switch driver {
        case .file(let file): await file.close()
        case .remote(let remote): await remote.close()
        case .qcow2(let image): do { try await image.close() } catch { failure = failure ?? error }
        case .preallocate(let state): do { try await state.end() } catch { failure = failure ?? error }
        case .null, .raw, .faults, .throttle, .copyOnRead, .compress: break
        }
        if let failure { throw failure }
    }

    private var keepsData: Bool {
        if case .null = driver { return false }
        return true
    }
}
