/// What the host's file system is told of a new file, as far as it knows such things.
public struct FileAttributes: Equatable, Sendable {
    /// Turns copy-on-write off (btrfs).
    public var noCopyOnWrite: Bool
    /// The extents in which the file is given room (XFS), in bytes; 0 for the file system's own. An image that grows in
    /// small steps gets large extents all the same.
    public var extentSizeHint: UInt32
    /// Whether the hint was asked for, so that it is told where it cannot be had.
    public var isHintAsked: Bool

    /// Without a hint that is asked for, 1 MiB, as QEMU does.
    public init(noCopyOnWrite: Bool = false, extentSizeHint: UInt32? = nil) {
        self.noCopyOnWrite = noCopyOnWrite
        self.extentSizeHint = extentSizeHint ?? 1 << 20
        isHintAsked = extentSizeHint != nil
    }
}
