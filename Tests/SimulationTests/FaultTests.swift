import BlockTestKit
import Bytes
import Simulation
import Testing

/// Every I/O of a program fails, in every way; the long runs are `make faults`.
@Suite struct FaultTests {
    @Test(
        "R74, R87: a failed I/O is reported, corrupts nothing and loses nothing that was flushed",
        arguments: 0..<2 as Range<UInt64>)
    func randomPrograms(seed: UInt64) throws {
        var examination = FaultExamination(seed: seed, on: CrashTests.stored)
        examination.every = 19
        examination.crashStates = 2
        let result = try examination.run()
        #expect(result.points > 10 && result.reported > 0)
    }

    @Test(
        "R04, R87: an opening that repairs or clears a bit is refused where one of its I/Os fails, and nothing is lost",
        arguments: ["dirty", "bitmap"], [true, false])
    func openings(name: String, stickyFlush: Bool) throws {
        let start = try #require(CrashTests.stored.first { $0.name == name })
        var examination = FaultExamination(Program(seed: 1, shape: start.shape, steps: [.flush, .reopen]), on: start)
        examination.disk.stickyFlush = stickyFlush
        let result = try examination.run()
        #expect(result.points > 100 && result.reported > result.points / 2)
    }

    @Test(
        "D7: a flush that fails once is told, and none succeeds until the image is opened again",
        arguments: [512, 4096])
    func flushThatFailsOnce(sectorSize: UInt64) throws {
        let start = try #require(CrashTests.stored.first { $0.name == "full" })
        let steps: [Step] = [
            // In place: only the guest's own data waits for the flush.
            .write(ByteRange(at: 4096, count: 1024), fua: false, fill: 1), .flush, .flush,
            .discard(ByteRange(at: 8192, count: 8192)), .flush, .flush,
        ]
        var examination = FaultExamination(Program(seed: 1, shape: start.shape, steps: steps), on: start)
        examination.disk.stickyFlush = false
        examination.disk.sectorSize = sectorSize
        #expect(try examination.run().points > 50)
    }

    @Test("the same on images of QEMU's tools", arguments: CrashTests.stored.indices)
    func storedImages(index: Int) throws {
        let start = CrashTests.stored[index]
        let programs = ExhaustivePrograms(start)
        for position in stride(from: 400 + index, to: programs.count, by: 6301) {
            var examination = FaultExamination(programs[position], on: start)
            examination.every = 17
            examination.crashStates = 2
            _ = try examination.run()
        }
    }
}
