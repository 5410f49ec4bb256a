import Block
import BlockTestKit
import Bytes
import Simulation
import Testing

/// What a sector may be after a crash, by D1 and D2.
@Suite struct OracleTests {
    private static let sector = ByteRange(at: 0, count: 512)

    private static func bytes(_ value: UInt8) -> [UInt8] { [UInt8](repeating: value, count: 512) }

    /// A disk of one sector that holds ones.
    private var oracle = SectorOracle(bytes(1))

    private mutating func write(_ value: UInt8, _ request: UInt64, isDurable: Bool = false) {
        oracle.issue(request, .write(Self.bytes(value)), Self.sector)
        oracle.complete(request, Self.sector, isDurable: isDurable)
    }

    /// The values that a crash may leave.
    private var allowed: [UInt8] { (0..<8).filter { oracle.judge(afterCrash: Self.bytes($0)) == nil } }

    @Test("before a flush the old value and the new one are allowed; after it only the new one")
    mutating func flush() {
        #expect(allowed == [1])
        write(2, 1)
        #expect(allowed == [1, 2])
        oracle.flushed(oracle.flushPoint)
        #expect(allowed == [2])
        #expect(oracle.judge(afterCrash: Self.bytes(1))?.kind == .lost)
    }

    @Test("a flush covers what completed before it was issued, and nothing else")
    mutating func flushPoint() {
        write(2, 1)
        let point = oracle.flushPoint
        write(3, 2)
        oracle.flushed(point)
        #expect(allowed == [2, 3])
        #expect(oracle.judge(afterCrash: Self.bytes(5))?.kind == .thirdValue)
    }

    @Test("a write with FUA is durable by itself, with what came before it")
    mutating func fua() {
        write(2, 1)
        write(3, 2, isDurable: true)
        #expect(allowed == [3])
    }

    @Test("a failed write may have happened or not, and a flush does not decide it")
    mutating func failure() {
        oracle.issue(1, .write(Self.bytes(2)), Self.sector)
        oracle.fail(1, Self.sector)
        oracle.flushed(oracle.flushPoint)
        #expect(allowed == [1, 2])
    }

    @Test("a reader decides what is read, not what a crash leaves")
    mutating func observation() {
        oracle.issue(1, .write(Self.bytes(2)), Self.sector)
        oracle.fail(1, Self.sector)
        #expect(oracle.observe(Self.bytes(2), at: 0) == nil)
        #expect(oracle.observe(Self.bytes(1), at: 0) != nil, "it was read as something else before")
        #expect(allowed == [1, 2])
        oracle.flushed(oracle.flushPoint)
        #expect(allowed == [2])
    }

    @Test("a discarded sector is old or zero")
    mutating func discard() {
        oracle.issue(1, .discard, Self.sector)
        oracle.complete(1, Self.sector, isDurable: false)
        oracle.flushed(oracle.flushPoint)
        #expect(allowed == [0, 1])
    }

    @Test("a disk that shrank and grew again reads as zeros where it was gone, and has one of its lengths")
    mutating func resize() {
        oracle = SectorOracle(Self.bytes(1) + Self.bytes(1))
        oracle.issueResize(1, to: 512)
        oracle.endResize(1, hasFailed: false)
        #expect(oracle.judge(afterCrash: Self.bytes(1)) == nil)
        #expect(oracle.judge(afterCrash: Self.bytes(1) + Self.bytes(1)) == nil)
        oracle.issueResize(2, to: 1024)
        oracle.endResize(2, hasFailed: false)
        oracle.flushed(oracle.flushPoint)
        #expect(oracle.judge(afterCrash: Self.bytes(1) + Self.bytes(0)) == nil)
        #expect(oracle.judge(afterCrash: Self.bytes(1) + Self.bytes(1)) != nil)
        #expect(oracle.judge(afterCrash: Self.bytes(1)) != nil)
    }
}
