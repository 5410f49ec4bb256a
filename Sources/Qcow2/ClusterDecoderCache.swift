import Bytes
import Codecs

/// The decompressor of one image, and the cluster it decompressed last: small reads in order decompress it once.
final class ClusterDecoderCache {
    private let decoder = ClusterDecoder()
    private var entry: UInt64 = 0
    private var bytes: [UInt8] = []

    /// Forgets the cluster: what its entry named may have become something else.
    func forget() {
        entry = 0
        bytes = []
    }

    /// Copies part of the cached cluster where it is the one of `entry`.
    func copy(_ entry: UInt64, from start: Int, into buffer: inout MutableRawSpan) -> Bool {
        guard entry != 0, entry == self.entry else { return false }
        let bytes = self.bytes
        let span = bytes.byteSpan
        buffer.copy(span.extracting(start..<start + buffer.byteCount))
        return true
    }

    func decode(_ input: RawSpan, of entry: UInt64, type: Header.CompressionType, clusterSize: Int)
        throws(CodecError)
    {
        var output = [UInt8](repeating: 0, count: clusterSize)
        let decoder = self.decoder
        try output.withMutableBytes { (span: inout MutableRawSpan) throws(CodecError) in
            switch type {
            case .zlib: try decoder.inflate(input, into: &span)
            case .zstd: try decoder.unzstd(input, into: &span)
            }
        }
        self.entry = entry
        bytes = output
    }
}
