/// Persistent reservations of one unit (SPC-4 5.13) as a value: registrants, and at most one reservation.
///
/// A registrant is an initiator port, named by its TransportID; it outlives its nexus. Nothing outlives the process
/// (APTPL is refused). Changes answer which other ports have to be told what.
struct PersistentReservations {
    enum Kind: UInt8, CaseIterable, Sendable {
        case writeExclusive = 1, exclusiveAccess = 3
        case writeExclusiveRegistrants = 5, exclusiveAccessRegistrants = 6
        case writeExclusiveAll = 7, exclusiveAccessAll = 8

        /// Whether others may not even read.
        var isExclusiveAccess: Bool {
            [.exclusiveAccess, .exclusiveAccessRegistrants, .exclusiveAccessAll].contains(self)
        }
        /// Whether every registrant has access.
        var admitsRegistrants: Bool { ![.writeExclusive, .exclusiveAccess].contains(self) }
        /// Whether every registrant holds the reservation.
        var isHeldByAll: Bool { [.writeExclusiveAll, .exclusiveAccessAll].contains(self) }
    }

    struct Registrant: Equatable {
        let port: PortID
        var key: UInt64
    }

    struct Notice: Equatable {
        let port: PortID
        let condition: SenseCode
    }

    /// Registrants that are remembered: bounds what initiators can make the target keep.
    static let registrantLimit = 128

    private(set) var registrants: [Registrant] = []
    /// The reservation's type; nil where there is none.
    private(set) var kind: Kind?
    /// Who holds it; nil where there is none, and where all registrants do.
    private(set) var holder: PortID?
    /// PRGENERATION.
    private(set) var generation: UInt32 = 0

    func key(of port: PortID) -> UInt64? { registrants.first { $0.port == port }?.key }

    func isHolder(_ port: PortID) -> Bool {
        guard let kind else { return false }
        return kind.isHeldByAll ? key(of: port) != nil : holder == port
    }

    /// The key that READ RESERVATION tells: zero where all registrants hold it.
    var holderKey: UInt64 { holder.flatMap { key(of: $0) } ?? 0 }

    /// Whether a command of the port is refused.
    func conflicts(_ port: PortID, isWrite: Bool) -> Bool {
        guard let kind, !isHolder(port) else { return false }
        if kind.admitsRegistrants, key(of: port) != nil { return false }
        return isWrite || kind.isExclusiveAccess
    }
}

// MARK: Service actions

extension PersistentReservations {
    /// REGISTER and REGISTER AND IGNORE EXISTING KEY (5.13.7). `key` is nil where it is to be ignored.
    mutating func register(_ port: PortID, key: UInt64?, newKey: UInt64) throws(Refusal) -> [Notice] {
        guard let index = registrants.firstIndex(where: { $0.port == port }) else {
            guard key ?? 0 == 0 else { throw .reservationConflict }
            // To be unregistered already is as asked.
            if newKey != 0 { try add(Registrant(port: port, key: newKey)) }
            generation &+= 1
            return []
        }
        if let key, key != registrants[index].key { throw .reservationConflict }
        generation &+= 1
        if newKey != 0 {
            registrants[index].key = newKey
            return []
        }
        return unregister(port)
    }

    private mutating func add(_ registrant: Registrant) throws(Refusal) {
        guard registrants.count < Self.registrantLimit else { throw .check(.insufficientRegistrationResources) }
        registrants.append(registrant)
    }

    /// A holder that is no registrant any more holds nothing (5.13.11.2.2).
    private mutating func unregister(_ port: PortID) -> [Notice] {
        let wasHolder = isHolder(port)
        registrants.removeAll { $0.port == port }
        guard wasHolder, let kind, !kind.isHeldByAll || registrants.isEmpty else { return [] }
        dropReservation()
        return kind.admitsRegistrants ? notices(.reservationsReleased, except: port) : []
    }

    private mutating func dropReservation() {
        kind = nil
        holder = nil
    }

    private func notices(_ condition: SenseCode, except port: PortID) -> [Notice] {
        registrants.filter { $0.port != port }.map { Notice(port: $0.port, condition: condition) }
    }

    /// RESERVE (5.13.9).
    mutating func reserve(_ port: PortID, key: UInt64, _ kind: Kind) throws(Refusal) {
        guard key == self.key(of: port) else { throw .reservationConflict }
        if let present = self.kind {
            // The holder may ask again for what it has.
            guard isHolder(port), present == kind else { throw .reservationConflict }
            return
        }
        self.kind = kind
        holder = kind.isHeldByAll ? nil : port
    }

    /// RELEASE (5.13.11.2). A registrant that holds nothing has released it.
    mutating func release(_ port: PortID, key: UInt64, _ kind: Kind) throws(Refusal) -> [Notice] {
        guard key == self.key(of: port) else { throw .reservationConflict }
        guard let present = self.kind, isHolder(port) else { return [] }
        guard present == kind else { throw .check(.invalidReleaseOfReservation) }
        dropReservation()
        return present.admitsRegistrants ? notices(.reservationsReleased, except: port) : []
    }

    /// CLEAR (5.13.11.2.6).
    mutating func clear(_ port: PortID, key: UInt64) throws(Refusal) -> [Notice] {
        guard key == self.key(of: port) else { throw .reservationConflict }
        let notices = notices(.reservationsPreempted, except: port)
        registrants = []
        dropReservation()
        generation &+= 1
        return notices
    }

    /// PREEMPT (5.13.11.2.4). Answers also whose registrations ended, for PREEMPT AND ABORT.
    mutating func preempt(_ port: PortID, key: UInt64, victim: UInt64, _ kind: Kind) throws(Refusal) -> [Notice] {
        guard key == self.key(of: port) else { throw .reservationConflict }
        if let present = self.kind {
            if present.isHeldByAll, victim == 0 { return replace(port, kind) { _ in true } }
            if victim == 0 { throw .parameter(8) }
            if !present.isHeldByAll, holderKey == victim { return replace(port, kind) { $0.key == victim } }
        }
        guard registrants.contains(where: { $0.key == victim }) else { throw .reservationConflict }
        generation &+= 1
        let gone = registrants.filter { $0.key == victim && $0.port != port }
        let remainsRegistered = registrants.contains { $0.key != victim }
        registrants.removeAll { $0.key == victim }
        // All registrants hold it as long as there is one.
        if !remainsRegistered, self.kind != nil { dropReservation() }
        return gone.map { Notice(port: $0.port, condition: .registrationsPreempted) }
    }

    /// The preempting port takes the reservation; the registrations that match end.
    private mutating func replace(_ port: PortID, _ kind: Kind, _ matches: (Registrant) -> Bool) -> [Notice] {
        let previous = self.kind
        let gone = registrants.filter { $0.port != port && matches($0) }
        registrants.removeAll { $0.port != port && matches($0) }
        self.kind = kind
        holder = kind.isHeldByAll ? nil : port
        generation &+= 1
        var notices = gone.map { Notice(port: $0.port, condition: .registrationsPreempted) }
        // Those that stay learn that access is now by another type.
        if let previous, previous != kind, previous.admitsRegistrants {
            notices += registrants.filter { $0.port != port }
                .map { Notice(port: $0.port, condition: .reservationsReleased) }
        }
        return notices
    }

    /// REGISTER AND MOVE (5.13.8): the holder hands its reservation to another port.
    mutating func move(_ port: PortID, key: UInt64, to other: PortID, newKey: UInt64, unregisters: Bool)
        throws(Refusal)
    {
        guard key == self.key(of: port), let kind else { throw .reservationConflict }
        guard isHolder(port), !kind.isHeldByAll else { throw .reservationConflict }
        guard newKey != 0 else { throw .parameter(8) }
        guard other != port else { throw .parameter(24) }
        if let index = registrants.firstIndex(where: { $0.port == other }) {
            registrants[index].key = newKey
        } else {
            try add(Registrant(port: other, key: newKey))
        }
        holder = other
        if unregisters { registrants.removeAll { $0.port == port } }
        generation &+= 1
    }
}

/// An initiator port by its TransportID (SPC-4 7.6.4), the same however it was padded.
struct PortID: Hashable, Sendable {
    let transportID: [UInt8]
    /// Without the zeros that pad it, and without the length that counts them.
    private let significant: [UInt8]

    init(_ transportID: [UInt8]) {
        self.transportID = transportID
        var bytes = transportID
        while bytes.last == 0 { bytes.removeLast() }
        if bytes.count > 4, bytes[0] & 0x0F == Self.iSCSI { bytes.replaceSubrange(2..<4, with: [0, 0]) }
        significant = bytes
    }

    /// PROTOCOL IDENTIFIER.
    private static let iSCSI: UInt8 = 5

    static func == (left: PortID, right: PortID) -> Bool { left.significant == right.significant }

    func hash(into hasher: inout Hasher) { hasher.combine(significant) }
}
