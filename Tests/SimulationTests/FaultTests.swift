import BlockTestKit
import Simulation
import Testing

/// Every I/O of a program fails, in every way; the long runs are `make faults`.
@Suite struct FaultTests {
    @Test(
        "R74, R87: a failed I/O is reported, corrupts nothing and loses nothing that was flushed",
        arguments: 0..<3 as Range<UInt64>)
    func randomPrograms(seed: UInt64) throws {
        let program = Program(crash: seed)
        var examination = FaultExamination(program, on: StartImage(program.shape, seed: seed))
        examination.every = 9
        examination.crashStates = 2
        let result = try examination.run()
        #expect(result.points > 10 && result.reported > 0)
    }

    @Test("the same on images of QEMU's tools", arguments: CrashTests.stored.indices)
    func storedImages(index: Int) throws {
        let start = CrashTests.stored[index]
        let programs = ExhaustivePrograms(start)
        for position in stride(from: 400 + index, to: programs.count, by: 4201) {
            var examination = FaultExamination(programs[position], on: start)
            examination.every = 17
            examination.crashStates = 2
            _ = try examination.run()
        }
    }
}
