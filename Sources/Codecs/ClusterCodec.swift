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
        // Proof: what counts as initialised was written: the stream by the encoder, the rest by the fill. The span does not
        // outlive the closure.
        let output = unsafe [UInt8](unsafeUninitializedCapacity: room) { target, count in
            var span = unsafe MutableRawSpan(_unsafeBytes: UnsafeMutableRawBufferPointer(target))
            let length = Self.encoders.lend { (encoder) -> Int? in
                switch self {
                case .deflate: try? encoder.deflate(cluster, into: &span)
                case .zstd: try? encoder.zstd(cluster, into: &span)
                }
            }
            guard let length else { return }
            count = (length + unit - 1) / unit * unit
            span.fill(at: length, count: count - length)
        }
        return output.isEmpty ? nil : output
    }

    /// Decompresses what becomes exactly `count` bytes; bytes behind the end of the stream are ignored.
    public func decode(_ stored: RawSpan, count: Int) throws(CodecError) -> [UInt8] {
        var failure: CodecError?
        // Proof: a decoder that does not fail has written every byte; of one that fails none counts.
        let output = unsafe [UInt8](unsafeUninitializedCapacity: count) { target, initialised in
            var span = unsafe MutableRawSpan(_unsafeBytes: UnsafeMutableRawBufferPointer(target))
            do throws(CodecError) {
                try Self.decoders.lend { (decoder) throws(CodecError) in
                    switch self {
                    case .deflate: try decoder.inflate(stored, into: &span)
                    case .zstd: try decoder.unzstd(stored, into: &span)
                    }
                }
                initialised = count
            } catch { failure = error }
        }
        if let failure { throw failure }
        return output
    }
}
