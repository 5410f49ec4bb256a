import Bytes

/// Finds zeros in data, by whole blocks: `-S` of convert.
struct ZeroDetection: Equatable {
    /// Zeros begin and end at multiples of it on the disk. A power of two.
    let block: UInt64
    /// Shorter runs of zeros between data are data.
    let shortest: UInt64

    /// The first run of some bytes of a disk that begin at `position`: how long it is, and whether it is all zeros.
    func firstRun(of bytes: RawSpan, at position: UInt64) -> (count: Int, isZero: Bool) {
        var end = blockEnd(0, bytes, position)
        if bytes.extracting(0..<end).isZero { return (zerosEnd(end, bytes, position), true) }
        while end < bytes.byteCount {
            let next = blockEnd(end, bytes, position)
            guard bytes.extracting(end..<next).isZero else {
                end = next
                continue
            }
            let zeros = zerosEnd(next, bytes, position)
            if zeros == bytes.byteCount || UInt64(zeros - end) >= shortest { return (end, false) }
            end = zeros
        }
        return (end, false)
    }

    /// The end of the block that begins, or goes on, at a place in the bytes.
    private func blockEnd(_ start: Int, _ bytes: RawSpan, _ position: UInt64) -> Int {
        let within = (position + UInt64(start)) & (block - 1)
        return Int(min(UInt64(bytes.byteCount), UInt64(start) + block - within))
    }

    /// Where zeros end that reach to `start`.
    private func zerosEnd(_ start: Int, _ bytes: RawSpan, _ position: UInt64) -> Int {
        var end = start
        while end < bytes.byteCount {
            let next = blockEnd(end, bytes, position)
            guard bytes.extracting(end..<next).isZero else { break }
            end = next
        }
        return end
    }
}
