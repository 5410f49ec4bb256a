import Testing

@testable import HostStorage

@Suite("Writes in place")
struct WritePatienceTests {
    private let ms: UInt64 = 1_000_000

    /// Makes a write of so many milliseconds, where writes are allowed, and answers whether it was.
    private func write(_ patience: inout WritePatience, at start: UInt64, for length: UInt64, waited: Bool) -> Bool {
        guard patience.allows(at: start * ms) else { return false }
        patience.note(from: start * ms, to: (start + length) * ms, hasWaited: patience.isWatching && waited)
        return true
    }

    @Test("a slow write alone, of a thread that lost its core, takes no trust away")
    func preempted() {
        var patience = WritePatience()
        for time in 0..<1000 as Range<UInt64> {
            #expect(write(&patience, at: 10 * time, for: 5, waited: false))
        }
    }

    @Test("a writer that is made to wait twice in a row writes through the workers for a while, longer each time")
    func waits() {
        var patience = WritePatience()
        #expect(write(&patience, at: 0, for: 20, waited: true))
        #expect(patience.isWatching)
        #expect(write(&patience, at: 20, for: 20, waited: true))
        #expect(!write(&patience, at: 41, for: 0, waited: false))
        #expect(!write(&patience, at: 139, for: 0, waited: false))
        // Watched from the first write on.
        #expect(write(&patience, at: 140, for: 20, waited: true))
        #expect(!write(&patience, at: 359, for: 0, waited: false))
        #expect(write(&patience, at: 360, for: 0, waited: false))
    }

    @Test("the wait grows to ten seconds and no further, and is forgotten after many quick writes")
    func bounds() {
        var patience = WritePatience()
        var time: UInt64 = 0
        _ = write(&patience, at: time, for: 2, waited: true)
        for _ in 0..<20 {
            time += 10_002
            #expect(write(&patience, at: time, for: 2, waited: true))
        }
        time += 10_003
        for _ in 0..<64 { #expect(write(&patience, at: time, for: 0, waited: false)) }
        #expect(!patience.isWatching)
        _ = write(&patience, at: time, for: 2, waited: true)
        #expect(write(&patience, at: time + 2, for: 2, waited: true))
        #expect(!write(&patience, at: time + 100, for: 0, waited: false))
        #expect(write(&patience, at: time + 105, for: 0, waited: false))
    }
}
