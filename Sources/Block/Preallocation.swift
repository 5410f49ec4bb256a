public import Bytes

/// How much of a new image, or of what one gains, has its room from the beginning: the option `preallocation`.
public enum Preallocation: String, Sendable, CaseIterable {
    /// Nothing has: room is taken as it is written to.
    case off
    /// The format's tables name a place for every byte; the host has given none yet.
    case metadata
    /// The host has given room for it, without having written it.
    case falloc
    /// All of it has been written, as zeros.
    case full
}

extension Storage {
    /// Gives a range of a file, or of a device, room on the host; it reads as zeros then, whatever it held. Only `falloc` and
    /// `full` do anything. Pieces of 1 MiB are written for `full`, with a rest after each.
    public func occupy(_ range: ByteRange, _ mode: Preallocation, pace: Pace = .none) async throws(BlockError) {
        switch mode {
        case .off, .metadata: return
        case .falloc: try await zero(range, flags: [])
        case .full:
            let zeros = AlignedBuffer(byteCount: Int(min(range.count, 1 << 20)), alignment: 4096)
            var rest = range
            while !rest.isEmpty {
                let part = rest.prefix(UInt64(zeros.byteCount))
                try await write(at: part.start, from: zeros.bytes.extracting(0..<Int(part.count)), flags: [])
                rest = rest.dropping(part.count)
                try await pace.rest()
            }
        }
    }
}
