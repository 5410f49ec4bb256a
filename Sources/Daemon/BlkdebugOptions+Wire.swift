import Block
import Filters
import Graph
import QMPTypes

// The wire's description of a fault filter as the graph takes it.

extension BlkdebugOptions {
    init(_ options: BlockdevOptionsBlkdebug) throws(QMPError) {
        self.init(image: try ChildReference(options.image))
        config = options.config
        for rule in options.injectError ?? [] {
            guard let event = FaultEvent(rawValue: rule.event.rawValue) else { continue }
            var fault = FaultRule(event: event)
            fault.state = Int(clamping: rule.state ?? 0)
            fault.kinds = rule.iotype.flatMap { FaultKinds(name: $0.rawValue) } ?? .standard
            fault.errno = Int32(clamping: rule.errno ?? 5)
            fault.sector = try rule.sector.flatMap { sector throws(QMPError) in
                sector == -1 ? nil : try unsigned(sector, "sector")
            }
            fault.once = rule.once ?? false
            fault.immediately = rule.immediately ?? false
            errors.append(fault)
        }
        for rule in options.setState ?? [] {
            guard let event = FaultEvent(rawValue: rule.event.rawValue) else { continue }
            transitions.append(
                StateRule(event: event, state: Int(clamping: rule.state ?? 0), newState: Int(clamping: rule.newState)))
        }
        limits.align = try Self.bytes(options.align, "align")
        limits.maxTransfer = try Self.bytes(options.maxTransfer, "max-transfer")
        limits.optWriteZero = try Self.bytes(options.optWriteZero, "opt-write-zero")
        limits.maxWriteZero = try Self.bytes(options.maxWriteZero, "max-write-zero")
        limits.optDiscard = try Self.bytes(options.optDiscard, "opt-discard")
        limits.maxDiscard = try Self.bytes(options.maxDiscard, "max-discard")
        taken = Permissions(options.takeChildPerms ?? [])
        unshared = Permissions(options.unshareChildPerms ?? [])
    }

    private static func bytes(_ value: (some BinaryInteger)?, _ name: String) throws(QMPError) -> UInt64? {
        guard let value else { return nil }
        guard let bytes = UInt64(exactly: value) else {
            throw QMPError("Parameter '\(name)' expects a non-negative number below 2^64")
        }
        return bytes
    }
}

extension Permissions {
    fileprivate init(_ list: [BlockPermission]) {
        self = []
        for permission in list {
            switch permission {
            case .consistentRead: insert(.consistentRead)
            case .write: insert(.write)
            case .writeUnchanged: insert(.writeUnchanged)
            case .resize: insert(.resize)
            }
        }
    }
}
