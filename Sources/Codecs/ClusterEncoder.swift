import CCodecs
import Bytes

/// Compresses clusters, one at a time; keeps its contexts for the next. Confined to one thread at a time.
@safe
public final class ClusterEncoder {
    // Proof: all three are made here, handed to no one, used by one call at a time and freed once, in deinit.
    private var igzip: UnsafeMutableRawPointer?
    private var igzipLevel: UnsafeMutableRawPointer?
    private var zstdContext: OpaquePointer?

    public init() {}

    deinit {
        // Proof: freed once; made by the matching allocators.
        unsafe igzip?.deallocate()
        unsafe igzipLevel?.deallocate()
        if let context = unsafe zstdContext { _ = unsafe ZSTD_freeCCtx(context) }
    }

    /// QEMU inflates compressed clusters with a window of 4 KiB: a stream with longer distances is damage to it.
    private static let windowBits: Int32 = 12

    /// Deflates `input` to raw deflate with a 12-bit window. Answers the compressed length; `tooLarge` where it does not
    /// fit `output`, which is how incompressible data is found (give less room than the input has).
    public func deflate(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) -> Int {
        guard input.byteCount > 0, output.byteCount > 0 else { throw .invalid }
        #if arch(x86_64) || arch(arm64)
            return try deflateFast(input, into: &output)
        #else
            return try deflateSlowly(input, into: &output)
        #endif
    }

    /// With ISA-L: an eighth of zlib's time, for a tenth more bytes.
    private func deflateFast(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) -> Int {
        if unsafe igzip == nil {
            unsafe igzip = .allocate(byteCount: nacre_igzip_bytes(), alignment: 64)
            unsafe igzipLevel = .allocate(byteCount: nacre_igzip_level_bytes(), alignment: 64)
        }
        let room = output.byteCount
        // Proof: the two places have the sizes that the library states; input and output are valid for their counts
        // during the call, and neither is kept.
        let length = unsafe output.withUnsafeMutableBytes { target in
            unsafe input.withUnsafeBytes { source in
                unsafe nacre_igzip(
                    igzip, igzipLevel, UInt32(Self.windowBits), source.baseAddress, source.count, target.baseAddress,
                    room)
            }
        }
        guard length > 0 else { throw .tooLarge }
        return length
    }

    /// With zlib, where ISA-L has nothing for the processor.
    func deflateSlowly(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) -> Int {
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

    /// zstd's own default, and QEMU's.
    private static let zstdLevel: Int32 = 3

    /// Compresses `input` to one zstd frame. Answers its length; `tooLarge` where it does not fit `output`.
    public func zstd(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) -> Int {
        guard input.byteCount > 0, output.byteCount > 0 else { throw .invalid }
        if unsafe zstdContext == nil { unsafe zstdContext = ZSTD_createCCtx() }
        guard let context = unsafe zstdContext else { throw .unavailable }
        let room = output.byteCount
        // Proof: the context is ours; both pointers are valid for the counts given with them during the call, and neither
        // is kept.
        let length = unsafe output.withUnsafeMutableBytes { target in
            unsafe input.withUnsafeBytes { source in
                unsafe ZSTD_compressCCtx(
                    context, target.baseAddress!, room, source.baseAddress!, source.count, Self.zstdLevel)
            }
        }
        guard ZSTD_isError(length) == 0 else { throw .tooLarge }
        return length
    }
}
