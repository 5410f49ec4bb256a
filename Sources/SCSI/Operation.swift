import Bytes

/// One supported command: an operation code, with its service action where it has one. The one description that
/// dispatch, `plan` and REPORT SUPPORTED OPERATION CODES are served from.
///
/// A class, so that to look at a row copies nothing.
final class Operation: Sendable {
    let code: UInt8
    let action: UInt16?
    /// The command's name in its standard.
    let name: String
    /// The CDB USAGE DATA (SPC-4 6.34.3): a bit is set where the command looks at it; its count is the CDB's length. A
    /// command with any other bit set is refused, but for byte 0 and the service action, which chose the row.
    let usage: [UInt8]
    let transfer: Transfer
    let access: Access
    let traits: Traits
    let handler: Handler
    /// All bits that a command may have set.
    private let mask: CDB

    init(
        _ code: UInt8, action: UInt16? = nil, _ name: String, _ usage: String, _ transfer: Transfer, _ access: Access,
        _ traits: Traits = [], by handler: Handler
    ) {
        self.code = code
        self.action = action
        self.name = name
        self.usage = [code] + Self.bytes(hex: usage)
        self.transfer = transfer
        self.access = access
        self.traits = traits
        self.handler = handler
        var mask = CDB(self.usage)
        mask[0] = 0xFF
        if action != nil { mask[1] |= 0x1F }
        self.mask = mask
    }

    /// The bytes of the table's own notation: pairs of hexadecimal digits, grouped by fields.
    private static func bytes(hex: String) -> [UInt8] {
        let digits = hex.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// What nexuses may use the command while another holds a reservation (SPC-4 table 69 and its likes in SBC-3 and
    /// MMC-6).
    enum Access: Sendable {
        /// Any, whatever is reserved.
        case always
        /// Any under a persistent reservation; only the holder under RESERVE.
        case unlessReserved
        /// As a read: refused under an exclusive access reservation.
        case read
        /// As a write: refused under a write exclusive reservation, too.
        case write
        /// The command judges for itself.
        case own
    }

    struct Traits: OptionSet, Sendable {
        let rawValue: UInt8
        /// Carried out while a unit attention is pending, which it leaves alone or takes itself.
        static let ignoresAttention = Traits(rawValue: 1)
        /// NOT READY without a medium.
        static let needsMedium = Traits(rawValue: 2)
        /// DATA PROTECT where the medium is write-protected.
        static let changesMedium = Traits(rawValue: 4)
        /// Only where blocks can be unmapped.
        static let needsProvisioning = Traits(rawValue: 8)
        /// Waits for the commands before it and holds up those behind it, as if it were ordered: once it has changed who
        /// may write, nothing of an earlier writer is under way.
        static let runsAlone = Traits(rawValue: 16)
        /// Carried out with the whole blocks that came, where fewer did than the command names: the transport tells the
        /// initiator how many are missing.
        static let takesPart = Traits(rawValue: 32)
        static let writes: Traits = [.needsMedium, .changesMedium]
    }

    /// What a command moves, from its bytes.
    enum Transfer: Sendable {
        case none
        /// To the initiator, at most what the ALLOCATION LENGTH at a byte says.
        case allocation(at: Int, width: Int)
        /// From the initiator, what the PARAMETER LIST LENGTH at a byte says.
        case parameters(at: Int, width: Int)
        /// The blocks that the command names.
        case blocksIn, blocksOut
        /// From the initiator, so many blocks as the function finds.
        case blocksFound(@Sendable (SCSICommand) -> UInt64)
        /// To the initiator, so many bytes as the function finds.
        case bytesFound(@Sendable (CDB) -> UInt64)
    }

    /// Who carries the command out. Those that wait for nothing are not asynchronous.
    enum Handler: Sendable {
        /// Answers with bytes, which are cut at the allocation length.
        case answer(@Sendable (LogicalUnit, SCSICommand) throws(Refusal) -> [UInt8])
        /// Changes the unit's state, by the data that came with the command.
        case change(@Sendable (LogicalUnit, SCSICommand, RawSpan) throws(Refusal) -> Void)
        /// As `answer`, and asks the drive.
        case ask(@Sendable (LogicalUnit, SCSICommand) async throws(Refusal) -> [UInt8])
        /// Fills the data-in room; answers how far.
        case read(@Sendable (LogicalUnit, SCSICommand, inout MutableRawSpan) async throws(Refusal) -> Int)
        /// Asks the drive to do something, by the data that came with the command.
        case write(@Sendable (LogicalUnit, SCSICommand, RawSpan) async throws(Refusal) -> Void)
    }
}

extension Operation {
    /// The first bit, as SPC-4 points at fields, that is set and must not be.
    func fault(in cdb: CDB) -> Refusal? {
        if cdb.head & ~mask.head == 0, cdb.tail & ~mask.tail == 0 { return nil }
        for index in 0..<CDB.byteCount {
            let wrong = cdb[index] & ~mask[index]
            if wrong != 0 { return .field(index, bit: 7 - wrong.leadingZeroBitCount) }
        }
        return nil
    }

    /// No answer from state is longer; a larger allocation length is room that stays unused.
    static var answerLimit: UInt64 { 64 << 10 }

    /// What the command moves. `blockShift` is the logarithm of the block size.
    func plan(_ command: SCSICommand, blockShift: UInt64) throws(Refusal) -> SCSIDataPlan {
        let cdb = command.cdb
        switch transfer {
        case .none: return .none
        case .allocation(let index, let width):
            let count = min(cdb.number(at: index, width: width), Self.answerLimit)
            return count == 0 ? .none : .toInitiator(Int(count))
        case .parameters(let index, let width):
            let count = try limited(cdb.number(at: index, width: width))
            return count == 0 ? .none : .fromInitiator(count)
        case .blocksIn:
            let count = try limited(cdb.blocks.count << blockShift)
            return count == 0 ? .none : .toInitiator(count)
        case .blocksOut:
            let count = try limited(cdb.blocks.count << blockShift)
            return count == 0 ? .none : .fromInitiator(count)
        case .blocksFound(let find):
            let count = try limited(find(command) << blockShift)
            return count == 0 ? .none : .fromInitiator(count)
        case .bytesFound(let find):
            let count = try limited(find(cdb))
            return count == 0 ? .none : .toInitiator(count)
        }
    }

    private func limited(_ count: UInt64) throws(Refusal) -> Int {
        guard count <= UInt64(SCSITarget.maxTransfer) else { throw .check(.invalidFieldInCDB) }
        return Int(count)
    }
}

/// The commands of a kind of unit, found by operation code in one step.
struct OperationTable: Sendable {
    /// Sorted by operation code and service action, as REPORT SUPPORTED OPERATION CODES lists them.
    let rows: [Operation]
    /// By operation code: the first row's index.
    private let first: [UInt8]
    private static let none: UInt8 = 0xFF

    init(_ rows: [Operation]) {
        precondition(rows.count < Int(Self.none))
        let rows = rows.sorted { ($0.code, $0.action ?? 0) < ($1.code, $1.action ?? 0) }
        var first = [UInt8](repeating: Self.none, count: 256)
        for (index, row) in rows.enumerated().reversed() { first[Int(row.code)] = UInt8(index) }
        self.rows = rows
        self.first = first
    }

    /// The rows of an operation code: none, one, or one for each service action.
    func rows(of code: UInt8) -> ArraySlice<Operation> {
        let start = first[Int(code)]
        guard start != Self.none else { return [] }
        var end = Int(start) + 1
        while end < rows.count, rows[end].code == code { end += 1 }
        return rows[Int(start)..<end]
    }

    func runsAlone(_ cdb: CDB) -> Bool {
        let start = first[Int(cdb.code)]
        return start != Self.none && rows[Int(start)].traits.contains(.runsAlone)
    }

    /// A command's row. A service action stands in the low five bits of byte 1.
    func row(of cdb: CDB) throws(Refusal) -> Operation {
        let start = first[Int(cdb.code)]
        guard start != Self.none else { throw .check(.invalidOperationCode) }
        var index = Int(start)
        guard rows[index].action != nil else { return rows[index] }
        let action = UInt16(cdb[1] & 0x1F)
        while index < rows.count, rows[index].code == cdb.code {
            if rows[index].action == action { return rows[index] }
            index += 1
        }
        throw .field(1, bit: 4)
    }
}
