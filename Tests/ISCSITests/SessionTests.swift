import Block
import BlockTestKit
import Bytes
import SCSI
import Testing

@testable import ISCSI

@Suite("iSCSI sessions")
struct SessionTests {
    // MARK: Discovery and text

    func ask(_ initiator: Initiator, _ keys: [String]) async throws -> [TextKeys.Pair] {
        var pdu = TextRequestPDU(tag: initiator.takeTag())
        pdu.isImmediate = true
        pdu.cmdSN = initiator.cmdSN
        try await initiator.send(pdu, Initiator.text(keys))
        var text: [UInt8] = []
        while true {
            let received = try await initiator.receive()
            let response: TextResponsePDU = try received.expect(.text)
            text += received.data
            if response.isFinal { break }
            pdu.transferTag = response.transferTag
            try await initiator.send(pdu)
        }
        return text.split(separator: 0).map { part in
            let parts = part.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            return .init(
                key: String(decoding: parts[0], as: UTF8.self), value: String(decoding: parts[1], as: UTF8.self))
        }
    }

    @Test("discovery tells the targets that the initiator may log in to, and where")
    func discovery() throws {
        let bench = Bench()
        let closed = ISCSITarget(
            name: "iqn.closed", scsi: SCSITarget(context: bench.context, name: "iqn.closed"),
            allowedInitiators: ["iqn.other"])
        bench.server.add(closed)
        let portal = "10.0.0.1:3260,1"
        try bench.run {
            let initiator = bench.connect()
            try await initiator.discover()
            let all = try await ask(initiator, ["SendTargets=All"])
            let own = [TextKeys.Pair(key: "TargetName", value: Bench.name), .init(key: "TargetAddress", value: portal)]
            #expect(all == own)
            #expect(try await ask(initiator, ["SendTargets=\(Bench.name.uppercased())"]) == own)
            #expect(try await ask(initiator, ["SendTargets=iqn.closed"]).isEmpty)
            #expect(try await ask(initiator, ["SendTargets="]) == [.init(key: "SendTargets", value: "Reject")])
            // In a discovery session there is nothing to command.
            try await initiator.send(initiator.commandPDU([0]))
            let reject: RejectPDU = try await initiator.receive().expect(.reject)
            #expect(reject.reason == RejectPDU.Reason.protocolError.rawValue)
        }
    }

    @Test("a long list comes in many responses")
    func longList() throws {
        let bench = Bench()
        for index in 0..<300 {
            let name = "iqn.2026-11.org.nacre:" + String(repeating: "x", count: 50) + "\(index)"
            bench.server.add(ISCSITarget(name: name, scsi: SCSITarget(context: bench.context, name: name)))
        }
        try bench.run {
            let initiator = bench.connect()
            try await initiator.discover()
            let pairs = try await ask(initiator, ["SendTargets=All"])
            #expect(pairs.count == 602 && pairs[600].value.hasSuffix("299"))
        }
    }

    @Test("in a normal session text tells of its own target, and changes only what may change")
    func text() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            #expect(try await ask(initiator, ["SendTargets="]).first?.value == Bench.name)
            #expect(try await ask(initiator, ["SendTargets=All"]).first?.value == "Reject")
            let answers = try await ask(
                initiator,
                [
                    "MaxRecvDataSegmentLength=512", "MaxBurstLength=512", "X-a=b", "InitiatorAlias=me", "CHAP_A=5",
                ])
            #expect(answers.map(\.value) == ["Reject", "NotUnderstood", "Reject"])
            let pdu = initiator.commandPDU(Initiator.read(0, 2), reads: 1024)
            try await initiator.send(pdu)
            #expect(try await initiator.receive().data.count == 512)
            #expect(try await initiator.receive().data.count == 512)
            #expect(try await ask(initiator, ["MaxRecvDataSegmentLength=1"]).first?.value == "Reject")
        }
    }

    // MARK: Numbers

    @Test("commands are carried out in the order of their numbers, whatever order they come in; others are ignored")
    func window() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            let data = (0..<4).map { DataTests.pattern(512, $0) }
            let pdus = (0..<4).map { _ in initiator.commandPDU(Initiator.write(0, 1), writes: 512) }
            for index in [3, 1, 2] { try await initiator.send(pdus[index], data[index]) }
            // Twice, too low, too high.
            try await initiator.send(pdus[1], data[1])
            var outside = initiator.commandPDU(Initiator.write(8, 1), writes: 512)
            outside.cmdSN = pdus[0].cmdSN &- 1
            try await initiator.send(outside, data[0])
            outside.cmdSN = pdus[0].cmdSN &+ 5000
            try await initiator.send(outside, data[0])
            #expect(try await initiator.ping([1]) == [1])
            #expect(bench.drive.writes.isEmpty && initiator.numbers.expCmdSN == pdus[0].cmdSN)
            try await initiator.send(pdus[0], data[0])
            var tags: Set<UInt32> = []
            for _ in 0..<4 {
                let response: SCSIResponsePDU = try await initiator.receive().expect(.scsiResponse)
                #expect(response.status == 0)
                tags.insert(response.tag)
            }
            #expect(tags == Set(pdus.map(\.tag)) && bench.drive.writes.count == 4)
            #expect(initiator.numbers.expCmdSN == pdus[3].cmdSN &+ 1)
            #expect(bench.drive.bytes(at: 8 * 512, 512).allSatisfy { $0 == 0 })
        }
    }

    @Test("the window is as wide as the commands that may be under way, and opens as they are answered")
    func windowCloses() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            bench.drive.isHolding = true
            let free = initiator.numbers.maxCmdSN &- initiator.numbers.expCmdSN &+ 1
            #expect(free == UInt32(ISCSILimits.commands))
            let pdus = (0..<ISCSILimits.commands).map { _ in initiator.commandPDU(Initiator.read(0, 1), reads: 512) }
            for pdu in pdus { try await initiator.send(pdu) }
            _ = try await initiator.ping()
            #expect(initiator.numbers.maxCmdSN &+ 1 == initiator.numbers.expCmdSN)
            let more = initiator.commandPDU(Initiator.read(0, 1), reads: 512)
            try await initiator.send(more)
            await bench.settle()
            #expect(bench.drive.waiting == ISCSILimits.commands)
            // Immediate ones are not held back by it, and have their own limit.
            for index in 0...ISCSILimits.immediateCommands {
                var pdu = initiator.commandPDU(Initiator.read(0, 1), reads: 512)
                initiator.cmdSN &-= 1
                pdu.isImmediate = true
                try await initiator.send(pdu)
                if index == ISCSILimits.immediateCommands {
                    let reject: RejectPDU = try await initiator.receive().expect(.reject)
                    #expect(reject.reason == RejectPDU.Reason.tooManyImmediate.rawValue)
                }
            }
            bench.drive.open()
            for _ in 0..<ISCSILimits.commands + ISCSILimits.immediateCommands {
                let part: DataInPDU = try await initiator.receive().expect(.dataIn)
                #expect(part.status == 0)
            }
            #expect(initiator.numbers.maxCmdSN &- initiator.numbers.expCmdSN &+ 1 == free)
        }
    }

    @Test("a tag that is in use is refused for another command")
    func tagInUse() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            bench.drive.isHolding = true
            let first = initiator.commandPDU(Initiator.read(0, 1), reads: 512)
            try await initiator.send(first)
            var second = initiator.commandPDU(Initiator.read(0, 1), reads: 512)
            second.tag = first.tag
            try await initiator.send(second)
            let reject: RejectPDU = try await initiator.receive().expect(.reject)
            #expect(reject.reason == RejectPDU.Reason.taskInProgress.rawValue)
            bench.drive.open()
            #expect(try await initiator.answer(to: first).isGood)
        }
    }

    @Test("commands whose data is more than the limit wait for room, and each is carried out")
    func room() throws {
        let bench = Bench(blocks: 16384)
        try bench.run {
            let initiator = try await bench.initiator(["InitialR2T=No", "MaxRecvDataSegmentLength=262144"])
            bench.drive.isHolding = true
            var pdus: [SCSICommandPDU] = []
            for index in 0..<12 {
                // 8 MiB each; a write among them that brings data with it.
                if index == 10 {
                    let pdu = initiator.commandPDU(Initiator.write(0, 16384), writes: 8 << 20)
                    pdus.append(pdu)
                    try await initiator.send(pdu, DataTests.pattern(65536))
                } else {
                    pdus.append(initiator.commandPDU(Initiator.read(0, 16384), reads: 8 << 20))
                    try await initiator.send(pdus[index])
                }
            }
            #expect(try await initiator.ping([1]) == [1])
            #expect(bench.drive.waiting == ISCSILimits.bytes / (8 << 20))
            bench.drive.open()
            var received: [UInt32: Int] = [:]
            var ended: Set<UInt32> = []
            while ended.count < pdus.count {
                let next = try await initiator.receive()
                switch next.opcode {
                case .dataIn:
                    received[next.header.tag, default: 0] += next.data.count
                    if DataInPDU(next.header).status == 0 { ended.insert(next.header.tag) }
                case .readyToTransfer:
                    let request = ReadyToTransferPDU(next.header)
                    #expect(request.tag == pdus[10].tag && Int(request.bufferOffset) >= 65536)
                    let start = Int(request.bufferOffset)
                    let zeros = [UInt8](repeating: 7, count: 8 << 20)
                    try await initiator.sendData(
                        pdus[10], zeros, start..<start + Int(request.length), request.transferTag, 262144)
                default:
                    let response: SCSIResponsePDU = try next.expect(.scsiResponse)
                    #expect(response.status == 0 && response.tag == pdus[10].tag)
                    ended.insert(response.tag)
                }
            }
            for pdu in pdus where pdu.reads { #expect(received[pdu.tag] == 8 << 20) }
            #expect(bench.drive.bytes(at: 0, 65536) == DataTests.pattern(65536))
            #expect(bench.drive.bytes(at: 65536, 8) == [UInt8](repeating: 7, count: 8))
        }
    }

    // MARK: Rejects

    @Test("what is not known, or has no place here, is rejected with its header, and the session goes on")
    func rejects() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            var rows: [(PDUHeader, [UInt8], RejectPDU.Reason)] = [
                (PDUHeader(opcode: 0x10), [], .snack), (PDUHeader(opcode: 0x1C), [1, 2], .commandUnsupported),
                (PDUHeader(opcode: 0x21), [], .commandUnsupported), (PDUHeader(opcode: 0x03), [], .protocolError),
            ]
            var both = SCSICommandPDU(tag: 7)
            (both.reads, both.writes, both.isImmediate) = (true, true, true)
            rows.append((both.header, [], .commandUnsupported))
            var untagged = SCSICommandPDU(tag: PDUHeader.noTag)
            untagged.isImmediate = true
            rows.append((untagged.header, [], .invalidField))
            for (header, data, reason) in rows {
                try await initiator.send(raw: initiator.encoded(header, data))
                let received = try await initiator.receive()
                let reject: RejectPDU = try received.expect(.reject)
                #expect(reject.reason == reason.rawValue && received.data.count == 48)
                #expect(PDUHeader(received.data.byteSpan).opcode == header.opcode)
            }
            #expect(try await initiator.read(0, 1).isGood)
        }
    }

    @Test("additional header segments of a wrong length are rejected; a long CDB is refused by its unit")
    func additionalSegments() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            let wrong: [[UInt8]] = [
                [0, 0, 1, 0], [0, 1, 1, 0], [0, 200, 1, 0], [255, 255, 1, 0], [0, 2, 2, 0, 0, 0, 0, 0],
                [0, 5, 1, 0, 1, 2, 3, 4, 0, 5, 1, 0, 1, 2, 3, 4], [0, 9, 1, 0, 1, 2, 3, 4], [0, 1, 1, 0, 0, 0, 0, 0],
            ]
            for ahs in wrong {
                let pdu = initiator.commandPDU([0x7F])
                try await initiator.send(pdu, ahs: ahs)
                let reject: RejectPDU = try await initiator.receive().expect(.reject)
                #expect(reject.reason == RejectPDU.Reason.invalidField.rawValue, "\(ahs)")
            }
            let pdu = initiator.commandPDU([0x7F, 0, 0, 0, 0, 0, 0, 24])
            try await initiator.send(pdu, ahs: [0, 17, 1, 0] + [UInt8](repeating: 0, count: 16))
            #expect(try await initiator.answer(to: pdu).code == [5, 0x20, 0])
        }
    }

    @Test("R61: more data than was agreed on ends the session, and is not waited for")
    func tooLong() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            var header = PDUHeader(opcode: 0)
            header.dataCount = ISCSILimits.pduData + 1
            try await initiator.send(raw: header.encoded)
            let reject: RejectPDU = try await initiator.receive().expect(.reject)
            #expect(reject.reason == RejectPDU.Reason.protocolError.rawValue)
            #expect(await initiator.hasEnded())
        }
    }

    // MARK: Pings

    @Test("a ping comes back with its data, as much as a PDU may have", arguments: [0, 1, 8192, 65537, 262144])
    func pings(count: Int) throws {
        let bench = Bench()
        try bench.run {
            let data = DataTests.pattern(count)
            let small = try await bench.initiator()
            #expect(try await small.ping(data) == Array(data.prefix(8192)))
            let large = try await bench.initiator(["MaxRecvDataSegmentLength=262144"], isid: 2)
            #expect(try await large.ping(data) == data)
            #expect(try await large.ping() == [])
        }
    }

    @Test("an initiator that is silent is asked whether it is there, and left where it is not")
    func silence() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            for _ in 0..<3 {
                let question: NopInPDU = try await initiator.receive().expect(.nopIn)
                #expect(question.tag == PDUHeader.noTag && question.transferTag != PDUHeader.noTag)
                var answer = NopOutPDU(tag: PDUHeader.noTag)
                answer.isImmediate = true
                answer.transferTag = question.transferTag
                answer.cmdSN = initiator.cmdSN
                try await initiator.send(answer)
            }
            #expect(try await initiator.read(0, 1).isGood)
            let last: NopInPDU = try await initiator.receive().expect(.nopIn)
            #expect(last.tag == PDUHeader.noTag)
            let before = bench.context.nowNs
            #expect(await initiator.hasEnded())
            #expect(bench.context.nowNs - before <= ISCSILimits.silenceMs * 1_000_000)
        }
    }

    // MARK: Ends

    func logOut(_ initiator: Initiator, reason: UInt8 = 0, connection: UInt16 = 0) async throws -> LogoutResponsePDU {
        var pdu = LogoutRequestPDU(tag: initiator.takeTag())
        pdu.reason = reason
        pdu.connection = connection
        pdu.cmdSN = initiator.cmdSN
        try await initiator.send(pdu)
        return try await initiator.receive().expect(.logout)
    }

    @Test("a logout is answered once no command runs any more, and ends the session")
    func logout() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            #expect(try await logOut(initiator, reason: 1, connection: 9).response == 1)
            #expect(try await logOut(initiator, reason: 2).response == 2)
            bench.drive.isHolding = true
            try await initiator.send(initiator.commandPDU(Initiator.read(0, 1), reads: 512))
            await bench.settle()
            bench.context.schedule(afterNs: 5_000_000_000) { bench.drive.open() }
            #expect(try await logOut(initiator, reason: 1).response == 0)
            #expect(bench.context.nowNs >= 5_000_000_000)
            #expect(await initiator.hasEnded())
            await bench.settle()
            #expect(bench.server.connections == 0)
        }
    }

    @Test("a removed target's initiators are asked to log out, and left where they do not; its commands are waited for")
    func removal() throws {
        let bench = Bench()
        try bench.run {
            let polite = try await bench.initiator()
            let rude = try await bench.initiator(isid: 2)
            bench.drive.isHolding = true
            try await rude.send(rude.commandPDU(Initiator.read(0, 1), reads: 512))
            await bench.settle()
            var isRemoved = false
            bench.context.spawn {
                await bench.server.remove(bench.target)
                isRemoved = true
            }
            for initiator in [polite, rude] {
                let message: AsyncMessagePDU = try await initiator.receive().expect(.async)
                #expect(message.event == 1 && message.parameter3 == 2)
            }
            #expect(try await logOut(polite).response == 0)
            let late = bench.connect()
            #expect(try await late.step(1, to: 3, late.introduction).response.status == LoginStatus.notFound.rawValue)
            #expect(await rude.hasEnded())
            await bench.settle()
            #expect(!isRemoved && bench.server.sessions(of: bench.target) == 1)
            bench.drive.open()
            await bench.settle()
            #expect(isRemoved && bench.server.sessions(of: bench.target) == 0)
        }
    }

    @Test("when the server stops, every connection ends and no new one begins")
    func stop() throws {
        let bench = Bench()
        try bench.run {
            let one = try await bench.initiator()
            let idle = bench.connect()
            await bench.settle()
            await bench.server.stop()
            #expect(bench.server.connections == 0)
            #expect(await one.hasEnded())
            #expect(await idle.hasEnded())
            #expect(await bench.connect().hasEnded())
        }
    }

    @Test("a reservation and what was under way end with the connection")
    func nexusLoss() throws {
        let bench = Bench()
        try bench.run {
            let one = try await bench.initiator()
            let pdu = one.commandPDU(Initiator.write(0, 1), writes: 512)
            try await one.send(pdu)
            let request: ReadyToTransferPDU = try await one.receive().expect(.readyToTransfer)
            #expect(request.length == 512)
            one.stream.close()
            await bench.settle()
            #expect(bench.server.connections == 0 && bench.drive.writes.isEmpty)
        }
    }
}
