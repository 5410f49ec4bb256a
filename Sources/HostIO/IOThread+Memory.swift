import CLinux

extension IOThread {
    /// Lets the allocator keep what is freed, up to 64 MiB: buffers of clusters come and go all the time, and pages that went
    /// back to the kernel come back as faults. For a program that copies and ends; called once, before threads start.
    public static func keepFreedMemory() { nacre_keep_freed(64 << 20, 4 << 20) }
}
