import Bytes
import Codecs
import Testing

private func compressible(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 / 7) ^ ($0 >> 9)) }
}

private func random(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    return (0..<count).map { _ in
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return UInt8(truncatingIfNeeded: state >> 32)
    }
}

private enum Kind: CaseIterable { case deflate, zstd }

private func compress(_ kind: Kind, _ input: [UInt8], room: Int) throws -> [UInt8] {
    let encoder = ClusterEncoder()
    var output = [UInt8](repeating: 0, count: room)
    let length = try output.withMutableBytes { (span: inout MutableRawSpan) throws(CodecError) in
        kind == .deflate
            ? try encoder.deflate(input.byteSpan, into: &span) : try encoder.zstd(input.byteSpan, into: &span)
    }
    return Array(output[..<length])
}

private func decompress(_ kind: Kind, _ input: [UInt8], count: Int) throws -> [UInt8] {
    let decoder = ClusterDecoder()
    var output = [UInt8](repeating: 0xee, count: count)
    try output.withMutableBytes { (span: inout MutableRawSpan) throws(CodecError) in
        kind == .deflate
            ? try decoder.inflate(input.byteSpan, into: &span) : try decoder.unzstd(input.byteSpan, into: &span)
    }
    return output
}

@Suite struct CodecsTests {
    @Test("what is compressed comes back, at every cluster size", arguments: Kind.allCases)
    private func roundTrip(_ kind: Kind) throws {
        for bits in 9...21 {
            let data = compressible(1 << bits)
            let packed = try compress(kind, data, room: data.count)
            #expect(packed.count < data.count)
            // Sector padding behind the stream is ignored.
            #expect(try decompress(kind, packed, count: data.count) == data)
            if kind == .deflate {
                #expect(try decompress(kind, packed + random(300), count: data.count) == data)
            } else {
                #expect(try decompress(kind, packed + [UInt8](repeating: 0, count: 300), count: data.count) == data)
            }
        }
    }

    @Test("data that does not shrink is too large, not cut", arguments: Kind.allCases)
    private func incompressible(_ kind: Kind) {
        let data = random(65536)
        #expect(throws: CodecError.tooLarge) { try compress(kind, data, room: data.count - 1) }
    }

    @Test("a stream that gives fewer bytes than a cluster is invalid", arguments: Kind.allCases)
    private func tooShort(_ kind: Kind) throws {
        let packed = try compress(kind, compressible(4096), room: 8192)
        #expect(throws: CodecError.invalid) { try decompress(kind, packed, count: 8192) }
    }

    @Test("a truncated stream is invalid", arguments: Kind.allCases)
    private func truncated(_ kind: Kind) throws {
        let packed = try compress(kind, random(2000) + compressible(63536), room: 65536)
        #expect(throws: CodecError.invalid) { try decompress(kind, Array(packed[..<(packed.count / 2)]), count: 65536) }
    }

    @Test("a deflate stream that fills the cluster and goes on is cut there (a bomb costs one cluster)")
    func deflateBomb() throws {
        let packed = try compress(.deflate, [UInt8](repeating: 7, count: 4 << 20), room: 1 << 20)
        #expect(try decompress(.deflate, packed, count: 65536) == [UInt8](repeating: 7, count: 65536))
    }

    @Test("a zstd frame that is longer than the cluster is invalid (a bomb costs one cluster)")
    func zstdBomb() throws {
        let packed = try compress(.zstd, [UInt8](repeating: 7, count: 4 << 20), room: 1 << 20)
        #expect(throws: CodecError.invalid) { try decompress(.zstd, packed, count: 65536) }
    }

    @Test("a zstd frame that asks for a huge window is refused before memory is taken")
    func zstdWindow() {
        // Magic, a frame header descriptor without single segment, window descriptor 2^31, one raw block of 1 byte.
        let frame: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x09, 0, 0, 0x41]
        #expect(throws: CodecError.invalid) { try decompress(.zstd, frame, count: 512) }
    }

    @Test("noise never traps", arguments: Kind.allCases)
    private func noise(_ kind: Kind) {
        for seed in 1...300 {
            _ = try? decompress(kind, random(700, seed: UInt64(seed)), count: 4096)
        }
        let packed = try? compress(kind, compressible(4096), room: 4096)
        guard let packed else { return }
        for position in packed.indices {
            var damaged = packed
            damaged[position] ^= 0xff
            _ = try? decompress(kind, damaged, count: 4096)
        }
    }

    @Test("deflate keeps distances within 4 KiB, the window that QEMU inflates with")
    func window() throws {
        // A random block that repeats 8 KiB later: a window of 4 KiB cannot find it again.
        let block = random(8192)
        let data = block + block
        #expect(throws: CodecError.tooLarge) { try compress(.deflate, data, room: 12288) }
    }
}
