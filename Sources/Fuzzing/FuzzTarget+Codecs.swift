import BlockTestKit
import Bytes
import Codecs

extension FuzzTarget {
    /// Input: a byte that chooses the cluster's size, then the sectors. What is decompressed fills its cluster and nothing
    /// else, no byte behind the sectors is read, and what comes out can be compressed and comes out again.
    static let deflate = FuzzTarget(name: "deflate") { try decompress($0, isZstd: false) }
    static let zstd = FuzzTarget(name: "zstd") { try decompress($0, isZstd: true) }
}

private func decompress(_ input: [UInt8], isZstd: Bool) throws(Finding) {
    var reader = InputReader(input)
    let clusterSize = 512 << Int(reader.byte() % 8)
    let sectors = GuardedMemory(byteCount: reader.rest.count)
    let source = Array(reader.rest)
    sectors.withMutableBytes { $0.copy(source.rawBytes) }
    let decoder = ClusterDecoder()
    // Two clusters that held different bytes before: what was not written shows.
    let first = decoder.decode(sectors, over: 0x00, clusterSize, isZstd: isZstd)
    let second = decoder.decode(sectors, over: 0xFF, clusterSize, isZstd: isZstd)
    try expect(first.isIntact && second.isIntact, "bytes before the cluster were written")
    try expect(sectors.bytes.isSame(as: source.rawBytes), "the sectors were written")
    try expect((first.error == nil) == (second.error == nil), "the outcome depends on what the cluster held")
    guard first.error == nil else { return }
    try expect(first.bytes == second.bytes, "part of the cluster was not written")
    try compressAgain(first.bytes, isZstd: isZstd, decoder)
}

private func compressAgain(_ cluster: [UInt8], isZstd: Bool, _ decoder: ClusterDecoder) throws(Finding) {
    let encoder = ClusterEncoder()
    var room = [UInt8](repeating: 0, count: cluster.count + 1024)
    var length: Int?
    room.withMutableBytes { span in
        length =
            isZstd
            ? try? encoder.zstd(cluster.rawBytes, into: &span) : try? encoder.deflate(cluster.rawBytes, into: &span)
    }
    guard let length else { throw Finding("a cluster does not compress into more room than it needs") }
    let compressed = GuardedMemory(byteCount: length)
    compressed.withMutableBytes { $0.copy(room.rawBytes.extracting(0..<length)) }
    let again = decoder.decode(compressed, over: 0xFF, cluster.count, isZstd: isZstd)
    try expect(again.error == nil && again.bytes == cluster, "what was compressed comes out as something else")
}

private struct Decoded {
    let error: CodecError?
    let bytes: [UInt8]
    let isIntact: Bool
}

extension ClusterDecoder {
    fileprivate func decode(_ input: GuardedMemory, over filler: UInt8, _ clusterSize: Int, isZstd: Bool) -> Decoded {
        let output = GuardedMemory(byteCount: clusterSize)
        let error = output.withMutableBytes { (span: inout MutableRawSpan) -> CodecError? in
            span.fill(filler)
            do throws(CodecError) {
                if isZstd { try unzstd(input.bytes, into: &span) } else { try inflate(input.bytes, into: &span) }
                return nil
            } catch { return error }
        }
        return Decoded(error: error, bytes: output.bytes.copied, isIntact: output.isIntact)
    }
}
