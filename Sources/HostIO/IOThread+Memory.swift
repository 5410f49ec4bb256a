import Glibc

extension IOThread {
    /// Lets the allocator keep what is freed, up to 64 MiB: buffers of clusters come and go all the time, and pages that went
    /// back to the kernel come back as faults. For a program that copies and ends; called once, before threads start.
    public static func keepFreedMemory() {
        mallopt(M_TRIM_THRESHOLD, 64 << 20)
        mallopt(M_MMAP_THRESHOLD, 4 << 20)
    }
}
