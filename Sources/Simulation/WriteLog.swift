import BlockTestKit
public import Bytes

/// What a program wrote to its disk, as the kernel's dm-log-writes and QEMU's `blklogwrites` note it
/// (Documentation/admin-guide/device-mapper/log-writes.rst): a superblock of one sector, then for each request a
/// sector that describes it, and what was written. All numbers are little-endian.
public enum WriteLog {
    public struct Superblock: Sendable {
        public static let size = 512
        /// Entries in the log so far.
        public let count: UInt64
        /// In bytes; offsets and lengths of entries count in it.
        public let sectorSize: Int

        public init(_ bytes: [UInt8]) throws(Violation) {
            let span = bytes.rawBytes
            guard span.byteCount >= 28, span.littleEndian(UInt64.self, at: 0) == 0x6A_7366_7773_6872,
                span.littleEndian(UInt64.self, at: 8) == 1
            else { throw Violation("no log of writes of version 1") }
            count = span.littleEndian(at: 16)
            sectorSize = Int(span.littleEndian(UInt32.self, at: 24))
            guard [512, 4096].contains(sectorSize) else { throw Violation("a log with sectors of \(sectorSize)") }
        }
    }

    public struct Entry: Sendable {
        public let range: ByteRange
        public let isFlush: Bool
        public let isForced: Bool
        public let isDiscard: Bool

        /// From the sector that describes it.
        public init(_ bytes: [UInt8], sectorSize: Int) throws(Violation) {
            let span = bytes.rawBytes
            guard span.byteCount >= 32 else { throw Violation("an entry of \(span.byteCount) bytes") }
            let (start, first) = span.littleEndian(UInt64.self, at: 0).multipliedReportingOverflow(
                by: UInt64(sectorSize))
            let (count, second) = span.littleEndian(UInt64.self, at: 8).multipliedReportingOverflow(
                by: UInt64(sectorSize))
            guard !first, !second, count <= 1 << 30, let range = ByteRange(checked: start, count: count) else {
                throw Violation("an entry that is too long")
            }
            let flags: UInt64 = span.littleEndian(at: 16)
            self.range = range
            (isFlush, isForced, isDiscard) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0)
        }

        /// How many bytes of contents follow it.
        public var payload: Int { isDiscard ? 0 : Int(range.count) }
    }
}
