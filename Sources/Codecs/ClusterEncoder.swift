import CCodecs
import Bytes

/// Compresses clusters. Confined to one thread.
public final class ClusterEncoder {
    public init() {}

    /// QEMU inflates compressed clusters with a window of 4 KiB: a stream with longer distances is damage to it.
    private static let windowBits: Int32 = 12

    /// Deflates `input` to raw deflate with a 12-bit window. Answers the compressed length; `tooLarge` where it does not
    /// fit `output`, which is how incompressible data is found (give less room than the input has).
    public func deflate(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) -> Int {
        guard input.byteCount > 0, output.byteCount > 0 else { throw .invalid }
        var stream = unsafe z_stream()
        let version = ZLIB_VERSION
        // Proof: the stream lives on this frame until deflateEnd; input and output outlive every call on it.
        guard
            unsafe deflateInit2_(
                &stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -Self.windowBits, 9, Z_DEFAULT_STRATEGY, version,
                Int32(MemoryLayout<z_stream>.size)) == Z_OK
        else { throw .unavailable }
        let room = output.byteCount
        let status = unsafe output.withUnsafeMutableBytes { target in
            unsafe input.withUnsafeBytes { source in
                unsafe stream.next_in = UnsafeMutablePointer(
                    mutating: source.baseAddress!.assumingMemoryBound(to: UInt8.self))
                unsafe stream.avail_in = UInt32(clamping: source.count)
                unsafe stream.next_out = target.baseAddress!.assumingMemoryBound(to: UInt8.self)
                unsafe stream.avail_out = UInt32(clamping: target.count)
                return unsafe CCodecs.deflate(&stream, Z_FINISH)
            }
        }
        let left = unsafe Int(stream.avail_out)
        _ = unsafe deflateEnd(&stream)
        switch status {
        case Z_STREAM_END: return room - left
        case Z_OK, Z_BUF_ERROR: throw .tooLarge
        default: throw .invalid
        }
    }

    /// Compresses `input` to one zstd frame. Answers its length; `tooLarge` where it does not fit `output`.
    public func zstd(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) -> Int {
        guard input.byteCount > 0, output.byteCount > 0 else { throw .invalid }
        let room = output.byteCount
        // Proof: both pointers are valid for the counts given with them during the call, and neither is kept.
        let length = unsafe output.withUnsafeMutableBytes { target in
            unsafe input.withUnsafeBytes { source in
                unsafe ZSTD_compress(target.baseAddress!, room, source.baseAddress!, source.count, 3)
            }
        }
        guard ZSTD_isError(length) == 0 else { throw .tooLarge }
        return length
    }
}
