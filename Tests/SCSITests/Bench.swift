import Block
import BlockTestKit
import Bytes
import Devices
import Testing

@testable import SCSI

/// What a command gave: its outcome, and the bytes that reached the initiator.
struct Reply {
    let plan: SCSIDataPlan
    let outcome: SCSIOutcome
    let data: [UInt8]

    var isGood: Bool { outcome.status == .good }
    var sense: SenseCode? { SenseBytes(outcome.sense)?.code }
    /// Byte and bit that the sense-key specific field points at.
    var field: SenseBytes.Field? { SenseBytes(outcome.sense)?.field }
    var information: UInt64? { SenseBytes(outcome.sense)?.information }
}

/// Sense data as an initiator reads it, in either format. Nil where it is not well formed.
struct SenseBytes: Equatable {
    struct Field: Equatable {
        let inCDB: Bool
        let byte: Int
        let bit: Int?
    }

    let code: SenseCode
    var field: Field?
    var information: UInt64?

    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 8, bytes.count == 8 + Int(bytes[7]) else { return nil }
        switch bytes[0] {
        case 0x70, 0xF0:
            guard bytes.count == 18, let key = SenseKey(rawValue: bytes[2] & 0x0F) else { return nil }
            code = SenseCode(key, bytes[12], bytes[13])
            if bytes[0] == 0xF0 { information = UInt64(bytes[3...6].reduce(0) { UInt32($0) << 8 | UInt32($1) }) }
            field = Self.field(bytes[15...17])
        case 0x72:
            guard let key = SenseKey(rawValue: bytes[1]) else { return nil }
            code = SenseCode(key, bytes[2], bytes[3])
            var rest = bytes[8...]
            while rest.count >= 2 {
                let body = rest.dropFirst(2).prefix(Int(rest[rest.startIndex + 1]))
                if rest.first == 0, body.count == 10 { information = body.suffix(8).reduce(0) { $0 << 8 | UInt64($1) } }
                if rest.first == 2, body.count == 6 { field = Self.field(body.dropFirst(2).prefix(3)) }
                rest = rest.dropFirst(2 + body.count)
            }
            if !rest.isEmpty { return nil }
        default: return nil
        }
    }

    private static func field(_ bytes: ArraySlice<UInt8>) -> Field? {
        guard let first = bytes.first, first & 0x80 != 0 else { return nil }
        let byte = bytes.dropFirst().reduce(0) { $0 << 8 | Int($1) }
        return Field(inCDB: first & 0x40 != 0, byte: byte, bit: first & 8 != 0 ? Int(first & 7) : nil)
    }
}

/// A target on a simulated context with one unit, number 0, and nexuses that send commands.
final class Bench {
    static let name = "iqn.2026-01.test:target"
    let context: SimulatedContext
    let target: SCSITarget
    let drive: FakeDrive
    /// The nexus that commands come by where a test names none; what it found at its beginning is read.
    private(set) var nexus: SCSINexus
    /// What rooms hold before a command fills them.
    var poison: UInt8 = 0xA5

    init(_ drive: FakeDrive, seed: UInt64 = 0) {
        context = SimulatedContext(seed: seed)
        target = SCSITarget(context: context, name: Self.name)
        self.drive = drive
        target.attach(drive, lun: 0)
        nexus = Self.makeNexus("a")
        target.begin(nexus)
        for unit in target.units.values { unit.attentions.removeAll() }
    }

    /// A fixed disk of so many blocks, all zero.
    convenience init(blocks: UInt64 = 1024, kind: DriveKind = .fixed) {
        self.init(FakeDrive(kind: kind, medium: MemoryStorage(length: blocks * (kind == .tray ? 2048 : 512))))
    }

    var unit: LogicalUnit {
        get throws { try #require(target.units[0]) }
    }

    static func makeNexus(_ name: String) -> SCSINexus {
        let port = "iqn.2026-01.test:\(name),i,0x000000000001"
        let text = Array(port.utf8)
        let padding = [UInt8](repeating: 0, count: 4 - text.count % 4)
        return SCSINexus(
            initiatorPort: port, transportID: [0x45, 0, 0, UInt8(text.count + padding.count)] + text + padding)
    }

    /// One more nexus; its unit attentions are pending.
    func begin(_ name: String) -> SCSINexus {
        let nexus = Self.makeNexus(name)
        target.begin(nexus)
        return nexus
    }

    /// One more nexus that has read its unit attentions.
    func join(_ name: String) throws -> SCSINexus {
        let nexus = begin(name)
        for unit in target.units.values { unit.attentions[ObjectIdentifier(nexus)] = nil }
        return nexus
    }

    /// Sends one command as a transport does: asks the plan, brings the data or makes poisoned room, and checks what R67
    /// wants: no byte beyond what is claimed is touched, and none that is claimed is left unwritten unless it was asked
    /// for.
    func send(
        _ cdb: CDB, data: [UInt8] = [], expecting: UInt64? = nil, lun: UInt64 = 0, by nexus: SCSINexus? = nil,
        _ attribute: SCSICommand.Attribute = .simple
    ) async -> Reply {
        let nexus = nexus ?? self.nexus
        let command = SCSICommand(
            nexus: nexus, lun: lun, cdb: cdb, attribute: attribute, expectedLength: expecting ?? UInt64(data.count))
        let plan = target.plan(command)
        var sent: [UInt8] = []
        if case .fromInitiator(let count) = plan { sent = Array(data.prefix(count)) }
        return await run(command, plan, sent)
    }

    private func run(_ command: SCSICommand, _ plan: SCSIDataPlan, _ sent: [UInt8]) async -> Reply {
        var buffer = AlignedBuffer(byteCount: plan.dataInLimit)
        var room = buffer.mutableBytes
        room.fill(poison)
        let outcome = await target.execute(command, dataOut: sent.byteSpan, dataIn: &room)
        var data = [UInt8](repeating: 0, count: outcome.dataInCount)
        data.withMutableBytes { $0.copy(buffer.bytes.extracting(0..<outcome.dataInCount)) }
        return Reply(plan: plan, outcome: outcome, data: data)
    }

    /// Runs a test's body to its end on the context.
    func run(_ body: @escaping (Bench) async throws -> Void) throws {
        try context.complete { [self] in try await body(self) }
    }
}

extension FixedWidthInteger {
    var bigEndianBytes: [UInt8] {
        (0..<Self.bitWidth / 8).reversed().map { UInt8(truncatingIfNeeded: self >> ($0 * 8)) }
    }
}

extension [UInt8] {
    /// The big-endian number in a part of the bytes.
    func number(_ range: Range<Int>) -> UInt64 { self[range].reduce(0) { $0 << 8 | UInt64($1) } }
}
