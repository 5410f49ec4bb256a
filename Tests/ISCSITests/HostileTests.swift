import Block
import BlockTestKit
import Bytes
import Testing

@testable import ISCSI

/// An initiator that vanishes or talks nonsense loses its own connection only.
@Suite("iSCSI initiators that mean no good")
struct HostileTests {
    /// A header that is right in some of its fields.
    static func header(_ random: inout SeededRandom, _ initiator: Initiator, tags: [UInt32]) -> PDUHeader {
        var header = PDUHeader(random.bytes(48).byteSpan)
        let known = InitiatorOpcode.allCases.map(\.rawValue)
        if random.chance(90) { header.opcode = random.pick(known) }
        header.ahsCount = random.chance(90) ? 0 : random.below(4) * 4
        header.dataCount = random.chance(60) ? 0 : random.below(2000)
        if random.chance(80) { header.tag = random.pick(tags) }
        if random.chance(80) { header.lun = 0 }
        if random.chance(80) { header.word24 = initiator.cmdSN &+ UInt32(random.below(4)) }
        if random.chance(60) { header.word20 = random.pick([0, 1, 2, 3, 512, 4096, PDUHeader.noTag]) }
        if random.chance(60) {
            (header.word36, header.word40) = (UInt32(random.below(3)), UInt32(random.below(3) * 512))
        }
        // A cold reset ends everybody's session, as it should.
        let function = header.flags & 0x7F
        if header.opcode == InitiatorOpcode.taskManagement.rawValue, function == 7 { header.flags = 5 }
        if header.opcode == InitiatorOpcode.scsiCommand.rawValue, random.chance(80) {
            let code = random.pick([0x00, 0x12, 0x28, 0x2A, 0x25, 0xA0] as [UInt32])
            (header.word32, header.word36, header.word40) = (code << 24, UInt32(random.below(16)) << 24, 0x0400_0000)
        }
        return header
    }

    @Test(
        "random PDUs in a session are answered or not, and nothing traps, hangs or outgrows its bounds",
        arguments: 0..<40 as Range<UInt64>)
    func randomPDUs(seed: UInt64) throws {
        let bench = Bench(seed: seed, blocks: 256)
        try bench.run {
            var random = SeededRandom(seed: seed)
            let witness = try await bench.initiator(isid: 99)
            for round in 0..<10 as Range<UInt64> {
                let keys = [
                    "InitialR2T=\(random.chance(50) ? "Yes" : "No")",
                    "ImmediateData=\(random.chance(50) ? "Yes" : "No")",
                    "MaxBurstLength=\(512 << random.below(4))", "FirstBurstLength=\(512 << random.below(4))",
                ]
                let hostile = try await bench.initiator(keys, isid: round + 1)
                // What comes back is taken and not looked at.
                bench.context.spawn { while !(await hostile.hasEnded()) {} }
                let tags = (0..<4).map { UInt32($0) } + [PDUHeader.noTag]
                for _ in 0..<60 {
                    let header = Self.header(&random, hostile, tags: tags)
                    let bytes = hostile.encoded(
                        header, random.bytes(header.dataCount), ahs: random.bytes(header.ahsCount))
                    do { try await hostile.send(raw: bytes) } catch { break }
                    if let session = bench.server.sessions.last {
                        #expect(session.tasks.count <= ISCSILimits.commands + ISCSILimits.immediateCommands)
                        #expect(session.bytes <= ISCSILimits.bytes && session.commands >= 0)
                    }
                }
                if random.chance(50) { await bench.settle() }
                hostile.stream.close()
            }
            await bench.settle()
            #expect(try await witness.ping([1]) == [1])
            #expect(bench.server.connections == 1)
        }
    }

    @Test("random bytes are no login and no session", arguments: 0..<20 as Range<UInt64>)
    func randomBytes(seed: UInt64) throws {
        let bench = Bench(seed: seed)
        try bench.run {
            var random = SeededRandom(seed: seed)
            for _ in 0..<20 {
                let initiator = bench.connect()
                try? await initiator.send(raw: random.bytes(1 + random.below(500)))
                await bench.settle()
                initiator.stream.close()
            }
            let late = try await bench.initiator()
            try? await late.send(raw: random.bytes(5000))
            await bench.settle()
            late.stream.close()
            await bench.settle()
            #expect(bench.server.connections == 0)
        }
    }

    @Test(
        "R63: every PDU, with and without data, with every flag, in a session and in discovery",
        arguments: UInt8(0)..<64)
    func everyPDU(opcode: UInt8) throws {
        let bench = Bench()
        try bench.run {
            for isDiscovery in [false, true] {
                for flags in [0, 0x40, 0x80, 0xC0, 0xE0, 0xFF] as [UInt8] {
                    for data in [[], [0], [UInt8](repeating: 65, count: 600)] as [[UInt8]] {
                        let initiator = bench.connect()
                        if isDiscovery { try await initiator.discover() } else { try await initiator.logIn() }
                        var header = PDUHeader(opcode: opcode)
                        header.flags = flags
                        header.tag = 5
                        header.word24 = initiator.cmdSN
                        try await initiator.send(raw: initiator.encoded(header, data))
                        await bench.settle()
                        initiator.stream.close()
                        await bench.settle()
                    }
                }
            }
            #expect(bench.server.connections == 0)
        }
    }

    @Test("an initiator may vanish at any byte of a conversation")
    func everyByte() throws {
        let bench = Bench(blocks: 64)
        try bench.run {
            let script = bench.connect()
            var bytes = script.encoded(
                script.loginRequest(1, to: 3).header, Initiator.text(script.introduction + ["InitialR2T=No"]))
            bytes += script.encoded(script.commandPDU([0]).header)
            bytes += script.encoded(script.commandPDU(Initiator.read(0, 2), reads: 1024).header)
            let write = script.commandPDU(Initiator.write(0, 2), writes: 1024, isFinal: false)
            bytes += script.encoded(write.header, DataTests.pattern(512))
            var rest = DataOutPDU(tag: write.tag)
            rest.bufferOffset = 512
            bytes += script.encoded(rest.header, DataTests.pattern(512))
            bytes += script.encoded(script.commandPDU(Initiator.write(0, 4), writes: 2048).header)
            var ping = NopOutPDU(tag: 9)
            ping.cmdSN = script.takeCmdSN()
            bytes += script.encoded(ping.header, [1, 2, 3])
            script.stream.close()
            let witness = try await bench.initiator(isid: 50)
            for count in stride(from: 0, through: bytes.count, by: 3) {
                let initiator = bench.connect(chunks: count % 2 == 0)
                // The next one, of the same name, may have put an end to it already.
                try? await initiator.send(raw: Array(bytes[..<count]))
                if count % 5 == 0 { await bench.settle() }
                initiator.stream.close()
            }
            await bench.settle()
            #expect(bench.server.connections == 1)
            #expect(try await witness.ping([1]) == [1])
        }
    }

    @Test("an initiator that does not read its answers does not grow them, and others go on")
    func deaf() throws {
        let bench = Bench(blocks: 4096)
        try bench.run {
            let deaf = bench.connect(capacity: 4096)
            try await deaf.logIn(["MaxRecvDataSegmentLength=262144"])
            _ = try await deaf.command([0])
            bench.context.spawn {
                for _ in 0..<2000 {
                    do { try await deaf.send(deaf.commandPDU(Initiator.read(0, 128), reads: 65536)) } catch { return }
                }
            }
            await bench.settle()
            let session = try #require(bench.server.sessions.first)
            // Those who were answered have given their place to no more than as many others.
            #expect(session.slots.count <= ISCSILimits.commands + 1)
            let other = try await bench.initiator(isid: 2)
            #expect(try await other.read(0, 1).isGood)
            await bench.context.sleep(ms: 4 * ISCSILimits.silenceMs)
            #expect(bench.server.sessions(of: bench.target) == 0)
        }
    }
}
