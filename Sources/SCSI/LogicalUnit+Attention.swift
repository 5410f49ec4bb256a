import Devices

// Unit attention conditions (SAM-5 5.14): what an initiator has to know before it goes on. Kept for each nexus in the
// order in which they came about.
extension LogicalUnit {
    /// Conditions that one nexus may have pending; each is kept once, so more cannot come about.
    static var attentionLimit: Int { 16 }

    func establish(_ condition: SenseCode, for nexus: SCSINexus) {
        let pending = attentions[ObjectIdentifier(nexus), default: []]
        guard !pending.contains(condition), pending.count < Self.attentionLimit else { return }
        // What happened before the unit was reset is of no interest any more.
        let isReset = condition == .powerOn || condition == .busDeviceReset
        attentions[ObjectIdentifier(nexus)] = isReset ? [condition] : pending + [condition]
    }

    /// For every nexus but, where one is named, the one that brought it about and knows.
    func establish(_ condition: SenseCode, except cause: SCSINexus? = nil) {
        for nexus in target.nexuses.values where nexus !== cause { establish(condition, for: nexus) }
    }

    /// Takes the oldest condition from the queue.
    func nextAttention(of nexus: SCSINexus) -> SenseCode? {
        let id = ObjectIdentifier(nexus)
        guard var pending = attentions[id] else { return nil }
        let next = pending.removeFirst()
        attentions[id] = pending.isEmpty ? nil : pending
        return next
    }

    func takeAttention(of nexus: SCSINexus) throws(Refusal) {
        if let condition = nextAttention(of: nexus) { throw .check(condition) }
    }

    /// REPORT LUNS tells what REPORTED LUNS DATA HAS CHANGED points at.
    func dropInventoryAttention(of nexus: SCSINexus) {
        let id = ObjectIdentifier(nexus)
        guard var pending = attentions[id] else { return }
        pending.removeAll { $0 == .reportedUnitsChanged }
        attentions[id] = pending.isEmpty ? nil : pending
    }
}

extension LogicalUnit: DriveObserver {
    func driveChangedMedium(_ drive: any Drive) {
        mediumGeneration &+= 1
        if drive.isReady {
            establish(.mediumMayHaveChanged)
            note(.newMedia)
        } else {
            note(.mediaRemoval)
        }
    }

    func driveWantsEject(_ drive: any Drive) {
        // A disc's initiator polls for the event; only a disk without that command is told by a unit attention.
        if isDisc { note(.ejectRequest) } else { establish(.operatorRemovalRequest) }
    }

    func driveChangedLength(_ drive: any Drive) { establish(.capacityChanged) }

    private func note(_ event: MediaEvent) {
        guard isDisc else { return }
        for nexus in target.nexuses.values {
            var events = mediaEvents[ObjectIdentifier(nexus), default: []]
            // Of several changes of a medium the last tells what there is.
            if event != .ejectRequest { events.removeAll { $0 != .ejectRequest } }
            if !events.contains(event) { events.append(event) }
            mediaEvents[ObjectIdentifier(nexus)] = events
        }
    }
}

/// Media class events of GET EVENT STATUS NOTIFICATION (MMC-6 6.6.2.5), by their codes.
enum MediaEvent: UInt8, Sendable { case ejectRequest = 1, newMedia = 2, mediaRemoval = 3 }
