import Bytes

/// A sector of a CD in mode 1 (ECMA-130 14): sync, header, 2048 bytes of data, and the codes that protect them.
enum CDSector {
    static let byteCount = 2352
    static let syncRange = 0..<12
    static let headerRange = 12..<16
    static let dataRange = 16..<2064
    /// EDC, eight zero bytes, P and Q parity.
    static let codesRange = 2064..<2352

    /// Adds all that surrounds the data of the sector at a block address.
    @_lifetime(sector: copy sector)
    static func complete(_ sector: inout MutableRawSpan, address: UInt32, hasCodes: Bool) {
        sector.storeBigEndian(0x00FF_FFFF as UInt32, at: 0)
        sector.storeBigEndian(UInt32.max, at: 4)
        sector.storeBigEndian(0xFFFF_FF00 as UInt32, at: 8)
        for (index, number) in LogicalUnit.time(address).enumerated() {
            sector.storeBigEndian(number / 10 << 4 | number % 10, at: 12 + index)
        }
        sector.storeBigEndian(1 as UInt8, at: 15)
        guard hasCodes else { return }
        sector.storeLittleEndian(errorDetection(sector.bytes.extracting(0..<2064)), at: 2064)
        sector.fill(at: 2068, count: 8)
        // P runs over 86 columns of 24 bytes, Q over 52 diagonals of 43, P's bytes included (ECMA-130 annex A).
        storeParity(&sector, vectors: 86, length: 24, pairStep: 2, step: 86, at: 2076)
        storeParity(&sector, vectors: 52, length: 43, pairStep: 86, step: 88, at: 2248)
    }

    /// EDC (ECMA-130 14.3): the remainder by (x^16+x^15+x^2+1)(x^16+x^2+x+1), least significant bit first.
    static func errorDetection(_ bytes: RawSpan) -> UInt32 {
        var remainder: UInt32 = 0
        for index in 0..<bytes.byteCount {
            remainder = remainder >> 8 ^ table[Int(UInt8(truncatingIfNeeded: remainder) ^ bytes.byte(at: index))]
        }
        return remainder
    }

    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value >> 1 ^ (value & 1 == 1 ? 0xD801_8001 : 0) }
    }

    /// Two parity bytes for each vector of a Reed-Solomon product code over GF(2^8), polynomial 11Dh.
    @_lifetime(sector: copy sector)
    private static func storeParity(
        _ sector: inout MutableRawSpan, vectors: Int, length: Int, pairStep: Int, step: Int, at offset: Int
    ) {
        let start = headerRange.lowerBound
        for vector in 0..<vectors {
            // Even and odd bytes are two planes of 16-bit words.
            var place = vector / 2 * pairStep + vector % 2
            var weighted: UInt8 = 0
            var sum: UInt8 = 0
            for _ in 0..<length {
                let byte = sector.bytes.byte(at: start + place)
                weighted = double(weighted ^ byte)
                sum ^= byte
                place = (place + step) % (vectors * length)
            }
            let parity = inverseOfThree[Int(double(weighted) ^ sum)]
            sector.storeBigEndian(parity, at: offset + vector)
            sector.storeBigEndian(parity ^ sum, at: offset + vectors + vector)
        }
    }

    private static func double(_ value: UInt8) -> UInt8 { value << 1 ^ (value & 0x80 != 0 ? 0x1D : 0) }

    /// For each v the x with x ^ 2x = v.
    private static let inverseOfThree: [UInt8] = {
        var table = [UInt8](repeating: 0, count: 256)
        for value in 0...255 as ClosedRange<UInt8> { table[Int(value ^ double(value))] = value }
        return table
    }()
}
