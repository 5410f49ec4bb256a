import BlockTestKit
import Bytes
import SCSI
import Testing

@testable import ISCSI

@Suite("iSCSI data")
struct DataTests {
    static func pattern(_ count: Int, _ seed: Int = 0) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31) &+ $0 / 512 &+ seed) | 1 }
    }

    /// A way of writing: what is negotiated, and how the data goes out.
    struct Way: Sendable, CustomTestStringConvertible {
        let initialR2T: Bool
        let immediateData: Bool
        let first: Int
        let burst: Int
        let outstanding: Int
        let digests: Bool
        var testDescription: String {
            "R2T \(initialR2T) immediate \(immediateData) first \(first) burst \(burst) x\(outstanding) \(digests)"
        }
        var keys: [String] {
            [
                "InitialR2T=\(TextValue.text(initialR2T))", "ImmediateData=\(TextValue.text(immediateData))",
                "FirstBurstLength=\(first)", "MaxBurstLength=\(burst)", "MaxOutstandingR2T=\(outstanding)",
            ] + (digests ? ["HeaderDigest=CRC32C", "DataDigest=CRC32C"] : [])
        }
    }

    static let ways = [true, false].flatMap { r2t in
        [true, false].flatMap { immediate in
            [(512, 512, 1), (1024, 4096, 1), (4096, 4096, 3), (65536, 262144, 4), (512, 1536, 2)].flatMap {
                (first, burst, outstanding) in
                [false, true].map {
                    Way(
                        initialR2T: r2t, immediateData: immediate, first: first, burst: burst,
                        outstanding: outstanding, digests: $0)
                }
            }
        }
    }

    @Test(
        "data arrives whole in every way that can be agreed on, and no more is asked for than is wanted",
        arguments: ways)
    func writes(_ way: Way) throws {
        let bench = Bench(seed: UInt64(way.first + way.burst), blocks: 4096)
        try bench.run {
            let initiator = try await bench.initiator(way.keys)
            for (index, blocks) in [1, 2, 3, 8, 9, 64].enumerated() {
                let data = Self.pattern(blocks * 512, index)
                let first = min(way.first, data.count)
                var shapes = [Initiator.Shape(segment: 512)]
                if way.immediateData { shapes.append(.init(immediate: first, segment: 2048)) }
                if !way.initialR2T { shapes.append(.init(unsolicited: first, segment: 700)) }
                if way.immediateData, !way.initialR2T, first > 512 {
                    shapes.append(.init(immediate: 512, unsolicited: first - 512, segment: 512))
                }
                for shape in shapes {
                    try await bench.drive.fill([UInt8](repeating: 0, count: data.count + 512), at: 0)
                    let (answer, asked) = try await initiator.write(0, data, shape)
                    #expect(answer.isGood && answer.residual == .none)
                    #expect(asked.reduce(0, +) == data.count - shape.immediate - shape.unsolicited)
                    #expect(asked.allSatisfy { $0 <= way.burst && $0 > 0 })
                    #expect(bench.drive.bytes(at: 0, data.count) == data)
                    #expect(bench.drive.bytes(at: UInt64(data.count), 512).allSatisfy { $0 == 0 })
                }
            }
        }
    }

    @Test("R2Ts under way are as many as were agreed on, and never more", arguments: [1, 2, 4])
    func outstanding(count: Int) throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator(["MaxOutstandingR2T=\(count)", "MaxBurstLength=512"])
            let data = Self.pattern(8 * 512)
            let pdu = initiator.commandPDU(Initiator.write(0, 8), writes: data.count)
            try await initiator.send(pdu)
            var waiting: [ReadyToTransferPDU] = []
            var taken = 0
            while taken < 8 {
                while waiting.count < min(count, 8 - taken) {
                    waiting.append(try await initiator.receive().expect(.readyToTransfer))
                }
                await bench.settle()
                let request = waiting.removeFirst()
                let start = Int(request.bufferOffset)
                #expect(start == taken * 512)
                try await initiator.sendData(pdu, data, start..<start + Int(request.length), request.transferTag, 512)
                taken += 1
            }
            #expect(try await initiator.answer(to: pdu).isGood)
            #expect(bench.drive.bytes(at: 0, data.count) == data)
        }
    }

    @Test(
        "data is read whole, in PDUs and bursts of the sizes agreed on, the status in the last of them",
        arguments: [512, 1000, 8192, 262144], [512, 4096, 262144])
    func reads(segment: Int, burst: Int) throws {
        let bench = Bench(blocks: 4096)
        try bench.run {
            let data = Self.pattern(400 * 512)
            try await bench.drive.fill(data, at: 0)
            for digest in ["None", "CRC32C"] {
                let initiator = try await bench.initiator([
                    "MaxRecvDataSegmentLength=\(segment)", "MaxBurstLength=\(burst)", "HeaderDigest=\(digest)",
                    "DataDigest=\(digest)",
                ])
                for blocks in [1, 2, 7, 128, 129, 400] {
                    let pdu = initiator.commandPDU(Initiator.read(0, blocks), reads: blocks * 512)
                    try await initiator.send(pdu)
                    var got: [UInt8] = []
                    while got.count < blocks * 512 {
                        let received = try await initiator.receive()
                        let part: DataInPDU = try received.expect(.dataIn)
                        got += received.data
                        #expect(
                            received.data.count <= segment && (got.count - 1) / burst == Int(part.bufferOffset) / burst)
                        #expect(part.isFinal == (got.count % burst == 0 || got.count == blocks * 512))
                        #expect((part.status == 0) == (got.count == blocks * 512))
                    }
                    #expect(got == Array(data[..<(blocks * 512)]))
                }
            }
        }
    }

    @Test("R67: an answer holds the bytes that were read and no others, whatever the buffer held before")
    func noOldBytes() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator(["InitialR2T=No"])
            let poison = [UInt8](repeating: 0xDB, count: 32 * 512)
            for _ in 0..<4 { _ = try await initiator.write(0, poison) }
            // INQUIRY pages, MODE SENSE, READ CAPACITY, REPORT LUNS, REQUEST SENSE, with more room than there is data.
            let commands: [[UInt8]] = [
                [0x12, 0, 0, 0x40, 0], [0x12, 1, 0, 0x40, 0], [0x12, 1, 0x80, 0x40, 0], [0x12, 1, 0x83, 0x40, 0],
                [0x12, 1, 0xB0, 0x40, 0], [0x25], [0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0],
                [0xA0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0], [0x03, 0, 0, 0, 0xFF],
            ]
            for cdb in commands {
                let answer = try await initiator.command(cdb, reads: 0x4000)
                #expect(!answer.data.contains(0xDB), "\(cdb)")
                if answer.isGood, !answer.data.isEmpty {
                    #expect(answer.residual == .underflow(UInt32(0x4000 - answer.data.count)))
                }
            }
            #expect(try await initiator.read(32, 32).data.allSatisfy { $0 == 0 })
        }
    }

    // MARK: Residuals

    @Test("fewer bytes expected than a command moves are an overflow, more an underflow")
    func residuals() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator(["InitialR2T=No"])
            let data = Self.pattern(2048)
            try await bench.drive.fill(data, at: 0)
            for expected in [0, 1, 512, 1023, 1024, 1025, 4096] {
                let answer = try await initiator.command(Initiator.read(0, 2), reads: expected)
                #expect(answer.isGood && answer.data == Array(data[..<min(expected, 1024)]))
                #expect(answer.residual == Residual(wanted: 1024, expected: UInt64(expected)))
            }
            for expected in [0, 200, 512, 1024, 4096] {
                try await bench.drive.fill([UInt8](repeating: 0, count: 2048), at: 0)
                let pdu = initiator.commandPDU(Initiator.write(0, 2), writes: expected)
                try await initiator.send(pdu, Array((data + data)[..<expected]))
                let answer = try await initiator.answer(to: pdu)
                let stored = min(expected, 1024) / 512 * 512
                #expect(answer.isGood && answer.residual == Residual(wanted: 1024, expected: UInt64(expected)))
                #expect(bench.drive.bytes(at: 0, stored) == Array(data[..<stored]))
                #expect(bench.drive.bytes(at: UInt64(stored), 2048 - stored).allSatisfy { $0 == 0 })
            }
            try await bench.drive.fill([UInt8](repeating: 0, count: 2048), at: 0)
            // A read that expects to send, and a write that expects to receive, move nothing.
            let read = initiator.commandPDU(Initiator.read(0, 1), writes: 512)
            try await initiator.send(read, Array(data[..<512]))
            let readAnswer = try await initiator.answer(to: read)
            #expect(readAnswer.data.isEmpty && readAnswer.residual == .overflow(512))
            let write = initiator.commandPDU(Initiator.write(0, 1), reads: 512)
            try await initiator.send(write)
            let writeAnswer = try await initiator.answer(to: write)
            #expect(writeAnswer.data.isEmpty && writeAnswer.residual == .overflow(512))
            #expect(bench.drive.bytes(at: 0, 512).allSatisfy { $0 == 0 })
            #expect(Residual(wanted: 1 << 40, expected: 0) == .overflow(.max))
        }
    }

    @Test("a command that fails moves nothing, and its sense comes with it")
    func failures() throws {
        let bench = Bench(blocks: 64)
        try bench.run {
            let initiator = try await bench.initiator()
            let read = try await initiator.read(64, 1)
            #expect(
                read.status == 2 && read.code == [5, 0x21, 0] && read.data.isEmpty && read.residual == .underflow(512))
            let unknown = try await initiator.command([0xFF])
            #expect(unknown.status == 2 && unknown.code == [5, 0x20, 0])
            let absent = try await initiator.command(Initiator.read(0, 1), reads: 512, lun: 0x0009_0000_0000_0000)
            #expect(absent.status == 2 && absent.code == [5, 0x25, 0])
        }
    }

    // MARK: Data that breaks the rules

    struct Breach: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var keys: [String] = []
        let code: [UInt8]
        /// Sends the command and what breaks the rules.
        let send: @Sendable (Initiator, SCSICommandPDU, [UInt8]) async throws -> Void

        init(
            _ description: String, _ code: [UInt8], _ keys: [String] = [],
            _ send: @escaping @Sendable (Initiator, SCSICommandPDU, [UInt8]) async throws -> Void
        ) {
            (testDescription, self.code, self.keys, self.send) = (description, code, keys, send)
        }
    }

    /// One Data-Out PDU that answers an R2T, changed.
    static func solicited(_ change: @escaping @Sendable (inout DataOutPDU) -> Void, count: Int = 1024)
        -> @Sendable (Initiator, SCSICommandPDU, [UInt8]) async throws -> Void
    {
        { initiator, command, data in
            try await initiator.send(command)
            let request: ReadyToTransferPDU = try await initiator.receive().expect(.readyToTransfer)
            var pdu = DataOutPDU(tag: command.tag)
            pdu.transferTag = request.transferTag
            change(&pdu)
            let last = pdu.isFinal
            try await initiator.send(pdu, Array(data[..<count]))
            guard !last else { return }
            // The burst has to come to its end before the command does.
            pdu.isFinal = true
            try await initiator.send(pdu, [])
        }
    }

    static let unexpected: [UInt8] = [0x0B, 0x0C, 0x0C]
    static let outOfOrder: [UInt8] = [0x0B, 0x4B, 0x00]
    static let breaches = [
        Breach("immediate data that was not agreed on", unexpected, ["ImmediateData=No"]) {
            try await $0.send($1, $2)
        },
        Breach("unsolicited data that was not agreed on", unexpected) { initiator, command, _ in
            var command = command
            command.isFinal = false
            try await initiator.send(command)
        },
        Breach("immediate data beyond the first burst", unexpected, ["FirstBurstLength=512"]) {
            try await $0.send($1, $2)
        },
        Breach("immediate data beyond the expected length", unexpected) { try await $0.send($1, $2 + [1]) },
        Breach("unsolicited data beyond the first burst", unexpected, ["FirstBurstLength=512", "InitialR2T=No"]) {
            var command = $1
            command.isFinal = false
            try await $0.send(command)
            try await $0.sendData(command, $2, 0..<1024, PDUHeader.noTag, 8192)
        },
        Breach("unsolicited data at a wrong place", outOfOrder, ["InitialR2T=No"]) {
            var command = $1
            command.isFinal = false
            try await $0.send(command)
            try await $0.sendData(command, $2, 512..<1024, PDUHeader.noTag, 8192)
        },
        Breach("unsolicited data after it has ended", unexpected, ["InitialR2T=No"]) {
            try await $0.send($1, Array($2[..<512]))
            let request: ReadyToTransferPDU = try await $0.receive().expect(.readyToTransfer)
            try await $0.sendData($1, $2, 512..<1024, PDUHeader.noTag, 8192)
            try await $0.sendData($1, $2, 512..<1024, request.transferTag, 8192)
        },
        Breach("solicited data at a wrong place", outOfOrder, [], solicited { $0.bufferOffset = 4 }),
        Breach("solicited data behind the end", outOfOrder, [], solicited { $0.bufferOffset = 0xFFFF_FF00 }),
        Breach("a wrong DataSN", outOfOrder, [], solicited { $0.dataSN = 1 }),
        Breach("an early end", outOfOrder, [], solicited({ _ in }, count: 512)),
        Breach("no end", outOfOrder, [], solicited { $0.isFinal = false }),
    ]

    @Test("data that breaks the rules ends its command, and nothing is written", arguments: breaches)
    func breach(_ breach: Breach) throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator(breach.keys)
            let data = Self.pattern(1024)
            let pdu = initiator.commandPDU(Initiator.write(0, 2), writes: 1024)
            try await breach.send(initiator, pdu, data)
            let answer = try await initiator.answer(to: pdu)
            #expect(answer.status == 2 && answer.code == breach.code)
            #expect(bench.drive.writes.isEmpty)
            // The session goes on.
            #expect(try await initiator.write(0, data).0.isGood)
        }
    }

    @Test("data for a command that is not there is dropped; for an R2T that is not, it is rejected")
    func strays() throws {
        let bench = Bench()
        try bench.run {
            let initiator = try await bench.initiator()
            var stray = DataOutPDU(tag: 0x9999)
            stray.transferTag = 3
            try await initiator.send(stray, [1, 2, 3])
            #expect(try await initiator.ping([5]) == [5])
            let pdu = initiator.commandPDU(Initiator.write(0, 1), writes: 512)
            try await initiator.send(pdu)
            let request: ReadyToTransferPDU = try await initiator.receive().expect(.readyToTransfer)
            var wrong = DataOutPDU(tag: pdu.tag)
            wrong.transferTag = request.transferTag &+ 1
            try await initiator.send(wrong, [1, 2, 3])
            let received = try await initiator.receive()
            let reject: RejectPDU = try received.expect(.reject)
            #expect(reject.reason == RejectPDU.Reason.invalidField.rawValue)
            #expect(PDUHeader(received.data.byteSpan).tag == pdu.tag)
            try await initiator.sendData(pdu, Self.pattern(512), 0..<512, request.transferTag, 512)
            #expect(try await initiator.answer(to: pdu).isGood)
        }
    }

    // MARK: Digests

    @Test("a damaged header ends the connection; damaged data is rejected and ends its command alone")
    func digests() throws {
        let bench = Bench()
        try bench.run {
            let keys = ["HeaderDigest=CRC32C", "DataDigest=CRC32C"]
            let initiator = try await bench.initiator(keys)
            let data = Self.pattern(1024)
            #expect(try await initiator.write(0, data).0.isGood)
            let pdu = initiator.commandPDU(Initiator.write(0, 2), writes: 1024)
            try await initiator.send(pdu)
            let request: ReadyToTransferPDU = try await initiator.receive().expect(.readyToTransfer)
            var out = DataOutPDU(tag: pdu.tag)
            out.transferTag = request.transferTag
            var bytes = initiator.encoded(out.header, data)
            bytes[100] ^= 1
            try await initiator.send(raw: bytes)
            let reject: RejectPDU = try await initiator.receive().expect(.reject)
            #expect(reject.reason == RejectPDU.Reason.dataDigest.rawValue)
            let answer = try await initiator.answer(to: pdu)
            #expect(answer.status == 2 && answer.code == [0x0B, 0x47, 0x05])
            // A command whose immediate data is damaged is not taken; its number is free for it to come again.
            let again = initiator.commandPDU(Initiator.write(0, 2), writes: 1024)
            var damaged = initiator.encoded(again.header, data)
            damaged[damaged.count - 1] ^= 1
            try await initiator.send(raw: damaged)
            let second: RejectPDU = try await initiator.receive().expect(.reject)
            #expect(second.reason == RejectPDU.Reason.dataDigest.rawValue && second.numbers.expCmdSN == again.cmdSN)
            try await initiator.send(again, data)
            #expect(try await initiator.answer(to: again).isGood)
            var header = initiator.encoded(initiator.commandPDU(Initiator.read(0, 1), reads: 512).header)
            header[20] ^= 1
            try await initiator.send(raw: header)
            #expect(await initiator.hasEnded())
        }
    }
}
