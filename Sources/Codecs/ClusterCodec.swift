import Bytes

/// How whole clusters are compressed and decompressed, from any thread. Contexts of the libraries are kept for the next
/// cluster, one for each thread that worked at the same time.
public enum ClusterCodec: Sendable {
    /// Raw deflate with a window of 4 KiB.
    case deflate
    case zstd

    private static let encoders = ContextPool { ClusterEncoder() }
    private static let decoders = ContextPool { ClusterDecoder() }

    /// Compresses a cluster into whole units of `unit` bytes, zeros behind the stream; nil where it takes more than `room`
    /// bytes. Precondition: `room` is a multiple of `unit`.
    public func encode(_ cluster: RawSpan, room: Int, unit: Int) -> [UInt8]? {
        precondition(room % unit == 0, "the room holds whole units")
        var output = [UInt8](repeating: 0, count: room)
        let count = output.withMutableBytes { span in
            Self.encoders.lend { (encoder) -> Int? in
                switch self {
                case .deflate: try? encoder.deflate(cluster, into: &span)
                case .zstd: try? encoder.zstd(cluster, into: &span)
                }
            }
        }
        guard let count else { return nil }
        let whole = (count + unit - 1) / unit * unit
        output.removeLast(room - whole)
        // Whatever a library left behind the stream goes.
        for index in count..<whole { output[index] = 0 }
        return output
    }

    /// Decompresses what becomes exactly `count` bytes; bytes behind the end of the stream are ignored.
    public func decode(_ stored: RawSpan, count: Int) throws(CodecError) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: count)
        try output.withMutableBytes { (span: inout MutableRawSpan) throws(CodecError) in
            try Self.decoders.lend { (decoder) throws(CodecError) in
                switch self {
                case .deflate: try decoder.inflate(stored, into: &span)
                case .zstd: try decoder.unzstd(stored, into: &span)
                }
            }
        }
        return output
    }
}
