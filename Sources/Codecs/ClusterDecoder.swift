import CCodecs
import Bytes

/// Decompresses compressed clusters, one at a time; keeps its contexts for the next. Confined to one thread.
///
/// Input and output are bounded by what the caller gives: the output is exactly one cluster, or an error. Bytes behind
/// the end of the compressed stream are ignored, for a compressed cluster is stored up to the next sector's end.
@safe
public final class ClusterDecoder {
    // Proof: both are made here, handed to no one, used by one call at a time and freed once, in deinit.
    private var deflate: OpaquePointer?
    private var zstd: OpaquePointer?

    /// A zstd frame that asks for a longer window is refused; a cluster is at most 2 MiB, strong levels claim 8.
    private static let zstdWindowLog: Int32 = 23

    public init() {}

    deinit {
        // Proof: freed once; both functions accept what their allocators answered.
        if let deflate = unsafe deflate { unsafe libdeflate_free_decompressor(deflate) }
        if let zstd = unsafe zstd { _ = unsafe ZSTD_freeDCtx(zstd) }
    }

    /// Inflates raw deflate (no zlib header). A stream that fills the cluster without having ended is accepted, as QEMU
    /// accepts it.
    public func inflate(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) {
        if unsafe deflate == nil { unsafe deflate = libdeflate_alloc_decompressor() }
        guard let context = unsafe deflate else { throw .unavailable }
        let room = output.byteCount
        guard room > 0, input.byteCount > 0 else { throw .invalid }
        // Proof: both pointers are valid for the counts given with them during the call, and neither is kept.
        let complete = unsafe output.withUnsafeMutableBytes { target in
            unsafe input.withUnsafeBytes { source in
                unsafe libdeflate_deflate_decompress(
                    context, source.baseAddress!, source.count, target.baseAddress!, room, nil)
            }
        }
        if complete == LIBDEFLATE_SUCCESS { return }
        try inflateSlowly(input, into: &output)
    }

    /// The same through zlib, which tells how far an unfinished stream came.
    private func inflateSlowly(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) {
        var stream = unsafe z_stream()
        let version = ZLIB_VERSION
        // Proof: the stream lives on this frame until inflateEnd; input and output outlive every call on it.
        guard unsafe inflateInit2_(&stream, -15, version, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw .unavailable
        }
        let status = unsafe output.withUnsafeMutableBytes { target in
            unsafe input.withUnsafeBytes { source in
                unsafe stream.next_in = UnsafeMutablePointer(
                    mutating: source.baseAddress!.assumingMemoryBound(to: UInt8.self))
                unsafe stream.avail_in = UInt32(clamping: source.count)
                unsafe stream.next_out = target.baseAddress!.assumingMemoryBound(to: UInt8.self)
                unsafe stream.avail_out = UInt32(clamping: target.count)
                return unsafe CCodecs.inflate(&stream, Z_FINISH)
            }
        }
        let isFull = unsafe stream.avail_out == 0
        _ = unsafe inflateEnd(&stream)
        guard isFull, status == Z_STREAM_END || status == Z_BUF_ERROR || status == Z_OK else { throw .invalid }
    }

    /// Decompresses zstd frames until the cluster is full; the last frame must end there.
    public func unzstd(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) {
        if unsafe zstd == nil { unsafe zstd = ZSTD_createDCtx() }
        guard unsafe zstd != nil else { throw .unavailable }
        guard output.byteCount > 0, input.byteCount > 0 else { throw .invalid }
        if unzstdFrame(input, into: &output) { return }
        try unzstdSlowly(input, into: &output)
    }

    /// One frame that is the whole cluster, without the window that a stream needs; false where it is something else.
    private func unzstdFrame(_ input: RawSpan, into output: inout MutableRawSpan) -> Bool {
        let room = output.byteCount
        guard let context = unsafe zstd else { return false }
        // Proof: the context is ours; the pointers are valid for their sizes during the calls, and not kept.
        return unsafe output.withUnsafeMutableBytes { target in
            unsafe input.withUnsafeBytes { source in
                let count = unsafe ZSTD_findFrameCompressedSize(source.baseAddress!, source.count)
                guard ZSTD_isError(count) == 0, count <= source.count else { return false }
                return unsafe ZSTD_decompressDCtx(context, target.baseAddress!, room, source.baseAddress!, count)
                    == room
            }
        }
    }

    private func unzstdSlowly(_ input: RawSpan, into output: inout MutableRawSpan) throws(CodecError) {
        guard let context = unsafe zstd else { throw .unavailable }
        // Proof: the context is ours; the buffers' pointers are valid for their sizes during the calls, and not kept.
        _ = unsafe ZSTD_DCtx_reset(context, ZSTD_reset_session_and_parameters)
        guard unsafe ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.zstdWindowLog)) == 0 else {
            throw .unavailable
        }
        let isComplete = unsafe output.withUnsafeMutableBytes { target in
            unsafe input.withUnsafeBytes { source in
                var from = unsafe ZSTD_inBuffer(src: source.baseAddress!, size: source.count, pos: 0)
                var to = unsafe ZSTD_outBuffer(dst: target.baseAddress!, size: target.count, pos: 0)
                var pending = 1
                while unsafe to.pos < to.size {
                    let before = unsafe (from.pos, to.pos)
                    pending = unsafe ZSTD_decompressStream(context, &to, &from)
                    if ZSTD_isError(pending) != 0 { return false }
                    if unsafe (from.pos, to.pos) == before { return false }
                }
                return pending == 0
            }
        }
        guard isComplete else { throw .invalid }
    }
}
