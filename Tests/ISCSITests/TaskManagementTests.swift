import Block
import BlockTestKit
import SCSI
import Testing

@testable import ISCSI

@Suite("iSCSI task management")
struct TaskManagementTests {
    static func response(_ received: Received) throws -> TaskManagementResponsePDU.Response? {
        let pdu: TaskManagementResponsePDU = try received.expect(.taskManagement)
        return TaskManagementResponsePDU.Response(rawValue: pdu.response)
    }

    @Test("an aborted command is not answered, and the abortion is once the command has ended")
    func abortRunning() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            bench.drive.isHolding = true
            let pdu = initiator.commandPDU(Initiator.read(0, 1), reads: 512)
            try await initiator.send(pdu)
            await bench.settle()
            let abort = try await initiator.manage(.abortTask, pdu.tag)
            await bench.settle()
            // The session still listens.
            #expect(try await initiator.ping([1]) == [1])
            bench.drive.open()
            let received = try await initiator.receive()
            #expect(received.header.tag == abort.tag)
            #expect(try Self.response(received) == .complete)
            // Its tag and its place are free.
            #expect(try await initiator.read(0, 1).isGood)
        }
    }

    @Test("a command that waits for its data is aborted at once, and its data is dropped when it comes")
    func abortWaiting() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            let data = DataTests.pattern(512)
            let pdu = initiator.commandPDU(Initiator.write(0, 1), writes: 512)
            try await initiator.send(pdu)
            let request: ReadyToTransferPDU = try await initiator.receive().expect(.readyToTransfer)
            _ = try await initiator.manage(.abortTask, pdu.tag)
            #expect(try Self.response(try await initiator.receive()) == .complete)
            try await initiator.sendData(pdu, data, 0..<512, request.transferTag, 512)
            #expect(try await initiator.ping([1]) == [1])
            #expect(bench.drive.writes.isEmpty)
        }
    }

    @Test("what is not there is not aborted, and what is not known or supported is refused as such")
    func refused() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            let rows: [(TaskManagementPDU.Function, UInt64, TaskManagementResponsePDU.Response)] = [
                (.abortTask, 0, .noSuchTask), (.abortTaskSet, 0, .complete), (.clearTaskSet, 0, .complete),
                (.clearACA, 0, .unsupported), (.taskReassign, 0, .reassignUnsupported),
                (.logicalUnitReset, 0x0005_0000_0000_0000, .noSuchUnit), (.logicalUnitReset, 0, .complete),
                (.targetWarmReset, 0, .complete),
            ]
            for (function, lun, expected) in rows {
                _ = try await initiator.manage(function, lun: lun, 0x4444)
                #expect(try Self.response(try await initiator.receive()) == expected, "\(function)")
            }
            var unknown = TaskManagementPDU(.abortTask, tag: 1)
            unknown.function = 99
            unknown.cmdSN = initiator.cmdSN
            try await initiator.send(unknown)
            #expect(try Self.response(try await initiator.receive()) == .unsupported)
        }
    }

    @Test("a set is aborted for its own unit and its own initiator; cleared, for all, who are told")
    func sets() throws {
        let bench = Bench()
        let second = MemoryDrive(blocks: 64)
        bench.target.scsi.attach(second, lun: 1)
        let lun1: UInt64 = 0x0001_0000_0000_0000
        try bench.run {
            let one = try await bench.initiator()
            let two = try await bench.initiator(isid: 2)
            for initiator in [one, two] { _ = try await initiator.command([0], lun: lun1) }
            bench.drive.isHolding = true
            second.isHolding = true
            func start(_ initiator: Initiator, lun: UInt64 = 0) async throws -> SCSICommandPDU {
                let pdu = initiator.commandPDU(Initiator.read(0, 1), reads: 512, lun: lun)
                try await initiator.send(pdu)
                return pdu
            }
            let own = [try await start(one), try await start(one)]
            let elsewhere = try await start(one, lun: lun1)
            let others = try await start(two)
            await bench.settle()
            _ = try await one.manage(.abortTaskSet)
            await bench.settle()
            bench.drive.open()
            #expect(try Self.response(try await one.receive()) == .complete)
            #expect(try await two.answer(to: others).isGood)
            bench.drive.isHolding = true
            let next = try await start(two)
            await bench.settle()
            _ = try await one.manage(.clearTaskSet)
            await bench.settle()
            bench.drive.open()
            #expect(try Self.response(try await one.receive()) == .complete)
            // TASK ABORTED.
            #expect(try await two.answer(to: next).status == 0x40)
            second.open()
            #expect(try await one.answer(to: elsewhere).isGood)
            #expect(own.count == 2)
        }
    }

    @Test("a reset of the unit aborts everybody's commands, and everybody meets a unit attention")
    func reset() throws {
        let bench = Bench()
        try bench.run {
            let one = try await bench.initiator()
            let two = try await bench.initiator(isid: 2)
            bench.drive.isHolding = true
            let pdu = two.commandPDU(Initiator.read(0, 1), reads: 512)
            try await two.send(pdu)
            await bench.settle()
            _ = try await one.manage(.logicalUnitReset)
            await bench.settle()
            bench.drive.open()
            #expect(try Self.response(try await one.receive()) == .complete)
            #expect(try await two.answer(to: pdu).status == 0x40)
            for initiator in [one, two] {
                let attention = try await initiator.read(0, 1)
                #expect(attention.status == 2 && attention.code[0] == 6 && attention.code[1] == 0x29)
                #expect(try await initiator.read(0, 1).isGood)
            }
        }
    }

    @Test("a cold reset ends all sessions, this one once it was answered")
    func coldReset() throws {
        let bench = Bench()
        try bench.run {
            let one = try await bench.initiator()
            let two = try await bench.initiator(isid: 2)
            _ = try await one.manage(.targetColdReset)
            #expect(try Self.response(try await one.receive()) == .complete)
            #expect(await one.hasEnded())
            #expect(await two.hasEnded())
            await bench.settle()
            #expect(bench.server.sessions(of: bench.target) == 0)
            _ = try await bench.initiator()
        }
    }

    @Test("functions that wait are bounded")
    func bounded() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            bench.drive.isHolding = true
            let pdu = initiator.commandPDU(Initiator.read(0, 1), reads: 512)
            try await initiator.send(pdu)
            await bench.settle()
            for _ in 0..<ISCSILimits.taskManagement { _ = try await initiator.manage(.abortTaskSet) }
            _ = try await initiator.manage(.abortTaskSet)
            let reject: RejectPDU = try await initiator.receive().expect(.reject)
            #expect(reject.reason == RejectPDU.Reason.tooManyImmediate.rawValue)
            bench.drive.open()
            for _ in 0..<ISCSILimits.taskManagement {
                #expect(try Self.response(try await initiator.receive()) == .complete)
            }
        }
    }

    @Test(
        "what comes before its turn is paid for; an initiator that keeps more of it waiting than there is memory goes")
    func earlyWithoutEnd() throws {
        let budget = MemoryBudget(limit: 24 << 20, clients: 4)
        let bench = Bench(budget: budget)
        let all = budget.common
        try bench.run {
            let initiator = try await bench.initiator(chunks: false)
            _ = initiator.takeCmdSN()
            for _ in 0..<100 {
                var pdu = NopOutPDU(tag: initiator.takeTag())
                pdu.cmdSN = initiator.takeCmdSN()
                do { try await initiator.send(pdu, [UInt8](repeating: 1, count: 256 << 10)) } catch { break }
            }
            await bench.settle()
            #expect(bench.ended == 1)
        }
        #expect(budget.common == all)
    }

    @Test("a command that came before its turn is aborted there")
    func early() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            let missing = initiator.takeCmdSN()
            let pdu = initiator.commandPDU(Initiator.read(0, 1), reads: 512)
            try await initiator.send(pdu)
            _ = try await initiator.manage(.abortTask, pdu.tag)
            #expect(try Self.response(try await initiator.receive()) == .complete)
            var first = SCSICommandPDU(tag: initiator.takeTag())
            first.cmdSN = missing
            try await initiator.send(first)
            #expect(try await initiator.answer(to: first).isGood)
            #expect(try await initiator.ping([1]) == [1])
            #expect(initiator.numbers.expCmdSN == pdu.cmdSN &+ 1)
        }
    }
}
