import Bytes

// RESERVE and RELEASE (SPC-2 7.21 and 7.18), and what reservations keep out.
extension LogicalUnit {
    func checkReservation(_ nexus: SCSINexus, _ access: Operation.Access) throws(Refusal) {
        switch access {
        case .always, .own: return
        case .unlessReserved, .read, .write: break
        }
        if let reserver, reserver != ObjectIdentifier(nexus) { throw .reservationConflict }
        guard access != .unlessReserved, reservations.kind != nil else { return }
        if reservations.conflicts(nexus.port, isWrite: access == .write) { throw .reservationConflict }
    }

    /// RESERVE (6) and (10): the whole unit, by the nexus that asks.
    func reserve(_ nexus: SCSINexus) throws(Refusal) {
        // The two kinds of reservation keep each other out.
        guard reservations.registrants.isEmpty else { throw .reservationConflict }
        guard reserver == nil || reserver == ObjectIdentifier(nexus) else { throw .reservationConflict }
        reserver = ObjectIdentifier(nexus)
    }

    /// RELEASE (6) and (10). Without effect on another's reservation.
    func release(_ nexus: SCSINexus) throws(Refusal) {
        guard reservations.registrants.isEmpty else { throw .reservationConflict }
        if reserver == ObjectIdentifier(nexus) { reserver = nil }
    }
}

// PERSISTENT RESERVE IN and OUT (SPC-4 6.15 and 6.16).
extension LogicalUnit {
    private static var listLength: Int { 24 }

    /// While a nexus has the unit by RESERVE, persistent reservations are out of reach for all.
    private func checkPersistentAccess() throws(Refusal) {
        if reserver != nil { throw .reservationConflict }
    }

    // MARK: IN

    func readKeys() throws(Refusal) -> [UInt8] {
        try checkPersistentAccess()
        var body: [UInt8] = []
        for registrant in reservations.registrants { body.append(bigEndian: registrant.key) }
        return reservationHeader(body.count) + body
    }

    func readReservation() throws(Refusal) -> [UInt8] {
        try checkPersistentAccess()
        guard let kind = reservations.kind else { return reservationHeader(0) }
        var body: [UInt8] = []
        body.append(bigEndian: reservations.holderKey)
        return reservationHeader(16) + body + [0, 0, 0, 0, 0, kind.rawValue, 0, 0]
    }

    private func reservationHeader(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: reservations.generation)
        bytes.append(bigEndian: UInt32(count))
        return bytes
    }

    /// REPORT CAPABILITIES: all types; TMV. No SPEC_I_PT, ALL_TG_PT or persistence through power loss.
    func reportReservationCapabilities() throws(Refusal) -> [UInt8] {
        try checkPersistentAccess()
        return [0, 8, 0, 0x80, 0xEA, 0x01, 0, 0]
    }

    func readFullStatus() throws(Refusal) -> [UInt8] {
        try checkPersistentAccess()
        var body: [UInt8] = []
        for registrant in reservations.registrants {
            let isHolder = reservations.isHolder(registrant.port)
            body.append(bigEndian: registrant.key)
            body += [0, 0, 0, 0, isHolder ? 1 : 0, isHolder ? reservations.kind?.rawValue ?? 0 : 0, 0, 0, 0, 0]
            // The one target port.
            body.append(bigEndian: UInt16(1))
            let transportID = registrant.port.transportID
            body.append(bigEndian: UInt32(transportID.count))
            body += transportID
        }
        return reservationHeader(body.count) + body
    }

    // MARK: OUT

    /// The service actions of PERSISTENT RESERVE OUT.
    enum ReserveAction: UInt8 {
        case register = 0, reserve, release, clear, preempt, preemptAndAbort, registerAndIgnore, registerAndMove
    }

    func persistentReserve(_ command: SCSICommand, _ data: RawSpan) throws(Refusal) {
        try checkPersistentAccess()
        guard let action = ReserveAction(rawValue: command.cdb[1] & 0x1F) else { throw .field(1, bit: 4) }
        let port = command.nexus.port
        if action == .registerAndMove { return try move(port, data) }
        guard data.byteCount == Self.listLength else { throw .check(.parameterListLength) }
        let key: UInt64 = data.bigEndian(at: 0)
        let other: UInt64 = data.bigEndian(at: 8)
        // SPEC_I_PT, ALL_TG_PT and APTPL are capabilities that are not told. They mean something at registration only.
        let flags = data.byte(at: 20)
        if action == .register || action == .registerAndIgnore, flags & 0x0D != 0 {
            throw .parameter(20, bit: 7 - (flags & 0x0D).leadingZeroBitCount)
        }
        var notices: [PersistentReservations.Notice] = []
        switch action {
        case .register: notices = try reservations.register(port, key: key, newKey: other)
        case .registerAndIgnore: notices = try reservations.register(port, key: nil, newKey: other)
        case .reserve: try reservations.reserve(port, key: key, try kind(command))
        case .release: notices = try reservations.release(port, key: key, try kind(command))
        case .clear: notices = try reservations.clear(port, key: key)
        case .preempt, .preemptAndAbort:
            notices = try reservations.preempt(port, key: key, victim: other, try kind(command))
        case .registerAndMove: break
        }
        tell(notices)
    }

    /// SCOPE must be the unit, TYPE one of the six.
    private func kind(_ command: SCSICommand) throws(Refusal) -> PersistentReservations.Kind {
        guard command.cdb[2] >> 4 == 0, let kind = PersistentReservations.Kind(rawValue: command.cdb[2] & 0x0F) else {
            throw .field(2)
        }
        return kind
    }

    /// Bytes of a TransportID: one of iSCSI's has a name of 223 at most, and what stands around it (SPC-4 7.6.4.6).
    private static let longestTransportID = 256

    /// REGISTER AND MOVE has a list of its own, with the TransportID of the port that is to hold.
    private func move(_ port: PortID, _ data: RawSpan) throws(Refusal) {
        guard data.byteCount >= Self.listLength else { throw .check(.parameterListLength) }
        let flags = data.byte(at: 17)
        // APTPL.
        if flags & 1 != 0 { throw .parameter(17, bit: 0) }
        guard data.bigEndian(UInt16.self, at: 18) == 1 else { throw .parameter(18) }
        let count = Int(data.bigEndian(UInt32.self, at: 20))
        guard count >= 24, count <= Self.longestTransportID, count % 4 == 0 else { throw .parameter(20) }
        guard count == data.byteCount - Self.listLength else { throw .check(.parameterListLength) }
        let transportID = data.extracting(Self.listLength..<data.byteCount).array
        try reservations.move(
            port, key: data.bigEndian(at: 0), to: PortID(transportID), newKey: data.bigEndian(at: 8),
            unregisters: flags & 2 != 0)
    }

    /// Those of the ports that are logged in get a unit attention.
    private func tell(_ notices: [PersistentReservations.Notice]) {
        for notice in notices {
            for nexus in target.nexuses.values where nexus.port == notice.port {
                establish(notice.condition, for: nexus)
            }
        }
    }
}
