import BlockTestKit
import Bytes
import SCSI
import Testing

@testable import ISCSI

@Suite("iSCSI PDUs")
struct PDUTests {
    static func randomHeader(_ random: inout SeededRandom, opcode: UInt8) -> PDUHeader {
        var header = PDUHeader(random.bytes(48).byteSpan)
        header.opcode = opcode
        return header
    }

    /// A kind of PDU: what reading a header and writing it again leaves.
    struct Kind: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let opcode: UInt8
        let again: @Sendable (PDUHeader) -> PDUHeader

        init<P: PDU>(_ type: P.Type, _ opcode: UInt8) {
            testDescription = "\(type)"
            self.opcode = opcode
            again = { P($0).header }
        }
    }

    static let kinds = [
        Kind(NopOutPDU.self, 0), Kind(SCSICommandPDU.self, 1), Kind(TaskManagementPDU.self, 2),
        Kind(LoginRequestPDU.self, 3), Kind(TextRequestPDU.self, 4), Kind(DataOutPDU.self, 5),
        Kind(LogoutRequestPDU.self, 6), Kind(NopInPDU.self, 0x20), Kind(SCSIResponsePDU.self, 0x21),
        Kind(TaskManagementResponsePDU.self, 0x22), Kind(LoginResponsePDU.self, 0x23), Kind(TextResponsePDU.self, 0x24),
        Kind(DataInPDU.self, 0x25), Kind(LogoutResponsePDU.self, 0x26), Kind(ReadyToTransferPDU.self, 0x31),
        Kind(AsyncMessagePDU.self, 0x32), Kind(RejectPDU.self, 0x3F),
    ]

    @Test("a header is its 48 bytes and back")
    func header() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<200 {
            var bytes = random.bytes(48)
            bytes[0] &= 0x7F
            #expect(PDUHeader(bytes.byteSpan).encoded == bytes)
        }
    }

    @Test("a PDU's fields survive being written and read, for any bits", arguments: kinds)
    func roundTrip(_ kind: Kind) {
        var random = SeededRandom(seed: 2)
        for _ in 0..<200 {
            let once = kind.again(Self.randomHeader(&random, opcode: kind.opcode))
            #expect(once.opcode == kind.opcode)
            #expect(kind.again(once) == once)
        }
    }

    @Test("known headers are the bytes that RFC 7143 draws")
    func drawn() {
        var command = SCSICommandPDU(tag: 0x0102_0304)
        command.reads = true
        command.attribute = 1
        command.lun = 0x0001_0000_0000_0000
        command.expectedLength = 512
        command.cmdSN = 7
        command.expStatSN = 9
        command.cdb = [0x28, 0, 0, 0, 0, 5, 0, 0, 1]
        let bytes: [UInt8] =
            [0x01, 0xC1, 0, 0, 0, 0, 0, 0] + [0, 1, 0, 0, 0, 0, 0, 0] + [1, 2, 3, 4] + [0, 0, 2, 0] + [0, 0, 0, 7]
            + [0, 0, 0, 9] + [0x28, 0, 0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        #expect(command.header.encoded == bytes)
        var data = DataInPDU(tag: 5)
        data.status = 0
        data.residual = .underflow(3)
        data.dataCount = 9
        data.numbers = Numbers(statSN: 1, expCmdSN: 2, maxCmdSN: 3)
        data.dataSN = 4
        data.bufferOffset = 8
        let dataBytes: [UInt8] =
            [0x25, 0x83, 0, 0, 0, 0, 0, 9] + [UInt8](repeating: 0, count: 8) + [0, 0, 0, 5, 255, 255, 255, 255]
            + [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 3]
        #expect(data.header.encoded == dataBytes)
    }

    static let framings = [false, true].flatMap { head in
        [false, true].map { PDUFraming(hasHeaderDigest: head, hasDataDigest: $0) }
    }

    @Test("a frame is found once it is whole, at every length, and its padding is zeros", arguments: framings)
    func framing(_ framing: PDUFraming) {
        for count in [0, 1, 2, 3, 4, 5, 8, 511, 512] {
            let data = [UInt8](repeating: 0xA5, count: count)
            var header = PDUHeader(opcode: 0x20)
            header.dataCount = count
            var bytes = [UInt8](repeating: 0xEE, count: framing.byteCount(data: count))
            let end = bytes.withMutableBytes { framing.store(header, data.byteSpan, into: &$0, at: 0) }
            #expect(end == bytes.count)
            let dataStart = framing.headCount
            #expect(bytes[(dataStart + count)..<(dataStart + count + padding(count))].allSatisfy { $0 == 0 })
            for length in 0..<bytes.count {
                #expect(framing.next(bytes.byteSpan.extracting(0..<length), limit: 512) == .incomplete)
            }
            let whole = PDUFraming.Frame(
                header: header, ahs: 48..<48, data: dataStart..<dataStart + count, byteCount: bytes.count)
            #expect(framing.next((bytes + [1, 2, 3]).byteSpan, limit: 512) == .whole(whole))
        }
    }

    @Test("R61: data of the longest length is taken, one byte more is not, and no bytes are awaited for it")
    func longest() {
        let framing = PDUFraming()
        for count in ISCSILimits.pduData - 4...ISCSILimits.pduData + 4 {
            var header = PDUHeader(opcode: 5)
            header.dataCount = count
            let next = framing.next(header.encoded.byteSpan, limit: ISCSILimits.pduData)
            #expect(next == (count <= ISCSILimits.pduData ? .incomplete : .tooLong(header)))
        }
        #expect(ISCSILimits.pdu <= ISCSILimits.window)
    }

    @Test("a bit that is turned over anywhere is found by the digests")
    func damage() {
        let framing = PDUFraming(hasHeaderDigest: true, hasDataDigest: true)
        var header = PDUHeader(opcode: 5)
        header.dataCount = 10
        var bytes = [UInt8](repeating: 0, count: framing.byteCount(data: 10))
        bytes.withMutableBytes {
            _ = framing.store(header, [UInt8](repeating: 7, count: 10).byteSpan, into: &$0, at: 0)
        }
        for bit in 0..<bytes.count * 8 where bit / 8 != 4 {
            var wrong = bytes
            wrong[bit / 8] ^= 1 << UInt8(bit % 8)
            switch framing.next(wrong.byteSpan, limit: 1 << 24) {
            case .damaged: #expect(bit / 8 < 52)
            case .whole(let frame): #expect(bit / 8 >= 52 && !frame.isDataIntact)
            case .incomplete, .tooLong: Issue.record("bit \(bit)")
            }
        }
    }

    @Test("serial numbers are in order across their wrap")
    func serial() {
        #expect(SerialNumber.isBefore(0xFFFF_FFFF, 0) && SerialNumber.isBefore(5, 6))
        #expect(!SerialNumber.isBefore(0, 0xFFFF_FFFF) && !SerialNumber.isBefore(6, 6))
    }
}
