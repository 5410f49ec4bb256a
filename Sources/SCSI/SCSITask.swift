/// An initiator port's relation to the target (SAM's I_T nexus), made by the transport and held by it as long as it
/// lasts. Reservations and unit attentions are kept by it.
public final class SCSINexus {
    /// The initiator port's name, in the transport's form (iSCSI: `iqn…,i,0x…` of the name and ISID). Persistent
    /// reservations outlive a nexus under it.
    public let initiatorPort: String
    /// The TransportID of SPC-4 7.6.4 that names the port, already encoded.
    public let transportID: [UInt8]
    /// What registrations are kept by.
    let port: PortID

    public init(initiatorPort: String, transportID: [UInt8]) {
        port = PortID(transportID)
        self.initiatorPort = initiatorPort
        self.transportID = transportID
    }
}

/// One command of an initiator as the transport received it.
public struct SCSICommand {
    public enum Attribute: UInt8, Sendable { case untagged = 0, simple = 1, ordered = 2, headOfQueue = 3, aca = 4 }

    public let nexus: SCSINexus
    /// The eight bytes of the LUN field (SAM-5 4.7).
    public let lun: UInt64
    public let cdb: CDB
    public let attribute: Attribute
    /// How many bytes the initiator has room for, or means to send.
    public let expectedLength: UInt64

    public init(nexus: SCSINexus, lun: UInt64, cdb: CDB, attribute: Attribute, expectedLength: UInt64) {
        self.nexus = nexus
        self.lun = lun
        self.cdb = cdb
        self.attribute = attribute
        self.expectedLength = expectedLength
    }
}

/// What carrying out a command will move, known from its bytes alone: the transport makes room for it first.
public enum SCSIDataPlan: Equatable, Sendable {
    case none
    /// At most so many bytes to the initiator.
    case toInitiator(Int)
    /// The command wants exactly so many bytes from the initiator.
    case fromInitiator(Int)
}

/// How a command ended.
public struct SCSIOutcome: Equatable, Sendable {
    public enum Status: UInt8, Sendable {
        case good = 0x00, checkCondition = 0x02, conditionMet = 0x04, busy = 0x08, reservationConflict = 0x18
        case taskSetFull = 0x28, acaActive = 0x30, taskAborted = 0x40
    }

    public var status: Status
    /// Sense data in fixed or descriptor format; empty unless `checkCondition`.
    public var sense: [UInt8]
    /// How many bytes of the data-in room are filled.
    public var dataInCount: Int
    /// How many bytes the command would have moved, for the transport's residual count.
    public var wanted: UInt64

    public init(status: Status = .good, sense: [UInt8] = [], dataInCount: Int = 0, wanted: UInt64 = 0) {
        self.status = status
        self.sense = sense
        self.dataInCount = dataInCount
        self.wanted = wanted
    }
}
