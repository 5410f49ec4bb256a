import CDigests

/// The CRC with Castagnoli's polynomial (RFC 7143 13.1): of iSCSI's header and data digests.
public struct CRC32C: Sendable {
    private var state: UInt32 = .max

    public init() {}

    public init(_ bytes: RawSpan) { add(bytes) }

    /// Continues with `bytes`. Precondition: at most 2 GiB.
    public mutating func add(_ bytes: RawSpan) {
        guard bytes.byteCount > 0 else { return }
        let before = state
        // Proof: the function reads `count` bytes at the pointer, which is valid for them during the call, and writes
        // nothing: its parameter lacks a const.
        state = unsafe bytes.withUnsafeBytes { memory in
            unsafe crc32_iscsi(
                UnsafeMutablePointer(mutating: memory.baseAddress!.assumingMemoryBound(to: UInt8.self)),
                Int32(memory.count), before)
        }
    }

    /// What stands on the wire, least significant byte first.
    public var value: UInt32 { ~state }
}
