import Block
import Bytes
import Codecs
import Synchronization

/// The cluster of one image that was decompressed last: small reads in order decompress it once.
final class ClusterDecoderCache {
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
        bytes = try type.codec.decode(input, count: clusterSize)
        self.entry = entry
    }
}

extension Header.CompressionType {
    var codec: ClusterCodec {
        switch self {
        case .zlib: .deflate
        case .zstd: .zstd
        }
    }
}

/// What a worker hands back.
private final class DecodedBox: Sendable {
    let bytes = Mutex<[UInt8]?>(nil)
}

extension IOContext {
    /// Decompresses a cluster on a worker; nil where it is damaged.
    func decoded(_ stored: [UInt8], by codec: ClusterCodec, count: Int) async -> [UInt8]? {
        let box = DecodedBox()
        _ = await offload {
            let cluster = try? codec.decode(stored.byteSpan, count: count)
            box.bytes.withLock { $0 = cluster }
            return 0
        }
        return box.bytes.withLock { $0 }
    }
}
