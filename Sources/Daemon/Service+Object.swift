import Block
import Bytes
import Devices
import Filters
import Graph
import HostIO
import QMPTypes

// The commands of Schema/object.json.
extension Service {
    func objectAdd(_ arguments: ObjectOptions) async throws(QMPError) {
        try await addObject(arguments, isOnCommandLine: false)
    }

    /// What stands on a command line every process of the host can read, so no secret may.
    func addObject(_ arguments: ObjectOptions, isOnCommandLine: Bool) async throws(QMPError) {
        guard Self.isIdentifier(arguments.id) else { throw QMPError("Parameter 'id' expects an identifier") }
        guard secrets[arguments.id] == nil, throttleGroups[arguments.id] == nil, mainLoop != arguments.id,
            ioThreads[arguments.id] == nil, host.tls.type(of: arguments.id) == nil
        else {
            throw QMPError("attempt to add duplicate property '\(arguments.id)' to object (type 'container')")
        }
        guard secrets.count + throttleGroups.count + ioThreads.count + host.tls.ids.count < Self.objectLimit else {
            throw QMPError("There are \(Self.objectLimit) objects already")
        }
        if try host.tls.make(arguments, on: host, secret: { secrets[$0]?.bytes }) { return }
        switch arguments.variant {
        case .mainLoop(let properties):
            guard mainLoop == nil else { throw QMPError("only one main-loop instance allowed") }
            try setPolling(properties.pollMaxNs ?? 0)
            mainLoop = arguments.id
        case .iothread(let properties): try addThread(arguments.id, properties)
        case .secret(let properties): try addSecret(arguments.id, properties, isOnCommandLine: isOnCommandLine)
        case .throttleGroup(let properties):
            let limits = try Filters.ThrottleLimits(properties)
            guard graph.throttleGroups.group(arguments.id) == nil else {
                throw QMPError("A group with this name already exists")
            }
            let group = graph.throttleGroups.makeGroup(arguments.id)
            group.setLimits(limits)
            throttleGroups[arguments.id] = group
        default: throw QMPError("Parameter 'qom-type' does not accept value '\(arguments.qomType.rawValue)'")
        }
        host.tls.noteOther(arguments.id)
    }

    func setPolling(_ ns: Int64) throws(QMPError) {
        var polling = PollingOptions()
        try polling.set("poll-max-ns", ns)
        host.pollMaxNs = polling.maxNs
    }

    private func addSecret(_ id: String, _ properties: SecretProperties, isOnCommandLine: Bool) throws(QMPError) {
        secrets[id] = try Secret(properties, isSeenByAll: isOnCommandLine && !configuration.actsAsQEMU) {
            (path, limit) throws(OpenError) in
            try host.contents(of: path, atMost: limit)
        }
    }

    func objectDel(_ arguments: ObjectDelArguments) async throws(QMPError) {
        let id = arguments.id
        if throttleGroups[id] != nil {
            let isUsed = graph.usesThrottleGroup(id) || devices.usesThrottleGroup(id)
            if isUsed { throw QMPError("object '\(id)' is in use, can not be deleted") }
            throttleGroups[id] = nil
        } else if host.tls.type(of: id) != nil {
            if graph.usesTLS(id) || nbdTLS == id { throw QMPError("object '\(id)' is in use, can not be deleted") }
        } else if let thread = ioThreads[id] {
            try deleteThread(id, thread)
        } else if mainLoop == id {
            host.pollMaxNs = 0
            mainLoop = nil
        } else if secrets.removeValue(forKey: id) == nil {
            throw QMPError("object '\(id)' not found")
        }
        host.tls.remove(id)
    }

    /// Objects at once; more are some client's mistake.
    private static let objectLimit = 1024
}
