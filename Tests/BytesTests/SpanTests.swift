import Bytes
import Testing

@Suite struct SpanTests {
    @Test("integers are stored and read in both byte orders, at odd places")
    func endian() {
        var buffer = AlignedBuffer(byteCount: 32)
        var span = buffer.mutableBytes
        span.storeBigEndian(0x0102_0304_0506_0708 as UInt64, at: 3)
        span.storeLittleEndian(0x0A0B_0C0D as UInt32, at: 17)
        let bytes = buffer.bytes
        #expect((3..<11).map { bytes.byte(at: $0) } == [1, 2, 3, 4, 5, 6, 7, 8])
        #expect((17..<21).map { bytes.byte(at: $0) } == [0x0D, 0x0C, 0x0B, 0x0A])
        #expect(bytes.bigEndian(UInt64.self, at: 3) == 0x0102_0304_0506_0708)
        #expect(bytes.littleEndian(UInt16.self, at: 17) == 0x0C0D)
    }

    @Test("a buffer is aligned, zero, and its size", arguments: [1, 2, 16, 512, 4096, 65536])
    func aligned(alignment: Int) {
        for count in [0, 1, 511, 4097] {
            var buffer = AlignedBuffer(byteCount: count, alignment: alignment)
            #expect(buffer.bytes.byteCount == count && buffer.bytes.isZero)
            #expect(count == 0 || buffer.bytes.isAligned(to: alignment))
            let isAligned = buffer.mutableBytes.isAligned(to: alignment)
            #expect(count == 0 || isAligned)
        }
    }

    @Test("one byte that is not zero is found anywhere")
    func zeros() {
        for position in 0..<37 {
            var bytes = [UInt8](repeating: 0, count: 37)
            #expect(bytes.withMutableBytes { $0.bytes.isZero })
            bytes[position] = 1
            #expect(!bytes.withMutableBytes { $0.bytes.isZero })
        }
    }

    @Test("copy and fill change exactly their bytes")
    func copies() {
        var source: [UInt8] = [1, 2, 3, 4, 5]
        var target = [UInt8](repeating: 9, count: 10)
        target.withMutableBytes { span in
            source.withMutableBytes { from in span.copy(from.bytes.extracting(1..<4), at: 5) }
            span.fill(7, at: 1, count: 2)
            span.fill(8, at: 9)
        }
        #expect(target == [9, 7, 7, 9, 9, 2, 3, 4, 9, 8])
    }
}
