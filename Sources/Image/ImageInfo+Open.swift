public import Graph
import Qcow2

extension ImageInfo {
    /// Of an image that is open in a graph.
    public init(_ details: ImageDetails) {
        self.init(
            filename: details.filename, format: details.format, virtualSize: details.virtualSize,
            actualSize: details.actualSize)
        clusterSize = details.clusterSize
        isDirty = details.dirtyFlag ?? false
        isEncrypted = details.isEncrypted
        backingFilename = details.backingFilename
        fullBackingFilename = details.fullBackingFilename
        backingFormat = details.backingFormat
        snapshots = details.snapshots
        qcow2 = details.qcow2.map { Qcow2Info($0) }
    }
}

extension Qcow2Info {
    fileprivate init(_ info: Qcow2.ImageInfo) {
        compat = info.compat
        compressionType = info.compressionType
        refcountBits = info.refcountBits
        guard info.compat != "0.10" else { return }
        lazyRefcounts = info.lazyRefcounts
        isCorrupt = info.isCorrupt
        extendedL2 = info.hasExtendedL2
        bitmaps = info.bitmaps
    }
}
