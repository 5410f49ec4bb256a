import BlockTestKit
import Bytes
import Testing

@Suite struct DiskModelTests {
    @Test("a single wrong byte anywhere is noticed")
    func wrongByte() {
        var model = DiskModel(length: 3 << 20)
        model.write([UInt8](repeating: 5, count: 10_000), at: 4000)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        for index in 4000..<14_000 { bytes[index] = 5 }
        #expect(model.observe(bytes, at: 0) == nil)
        for position in [0, 3999, 4000, 4095, 4096, 13_999, 14_000, (1 << 20) - 1] {
            var wrong = bytes
            wrong[position] ^= 3
            #expect(model.observe(wrong, at: 0)?.offset == UInt64(position))
        }
        #expect(model.observe([UInt8](repeating: 1, count: 1), at: 2 << 20)?.offset == 2 << 20)
    }

    @Test("a discarded byte may be old or zero, and stays what it was seen as")
    func discards() {
        var model = DiskModel(length: 4096)
        model.write([UInt8](repeating: 5, count: 4096), at: 0)
        model.discard(ByteRange(at: 1000, count: 2000))
        var bytes = [UInt8](repeating: 5, count: 4096)
        for index in 1500..<2000 { bytes[index] = 0 }
        #expect(model.mismatch([UInt8](repeating: 5, count: 4096), at: 0) == nil)
        #expect(model.observe(bytes, at: 0) == nil)
        #expect(model.observe([UInt8](repeating: 5, count: 4096), at: 0)?.offset == 1500)
        #expect(model.observe([UInt8](repeating: 0, count: 4096), at: 0)?.offset == 0)
    }

    @Test("what a disk gains reads as zeros, also where it was longer before")
    func resizes() {
        var model = DiskModel(length: 8192)
        model.write([UInt8](repeating: 5, count: 8192), at: 0)
        model.resize(to: 5000)
        model.resize(to: 8192)
        #expect(model.observe([UInt8](repeating: 5, count: 5000) + [UInt8](repeating: 0, count: 3192), at: 0) == nil)
        #expect(model.overlay(length: 100).length == 100)
    }
}
