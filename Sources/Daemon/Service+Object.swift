import Block
import Bytes
import Devices
import Filters
import Graph
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
            host.tls.type(of: arguments.id) == nil
        else {
            throw QMPError("attempt to add duplicate property '\(arguments.id)' to object (type 'container')")
        }
        guard secrets.count + throttleGroups.count + host.tls.ids.count < Self.objectLimit else {
            throw QMPError("There are \(Self.objectLimit) objects already")
        }
        let isTLS = try host.tls.make(
            arguments,
            contents: { [host] (path) throws(OpenError) in try host.contents(of: path, atMost: Secret.longestFile) },
            secret: { secrets[$0]?.bytes })
        if isTLS { return }
        defer {
            if secrets[arguments.id] != nil || throttleGroups[arguments.id] != nil { host.tls.noteOther(arguments.id) }
        }
        switch arguments.variant {
        case .mainLoop(let properties):
            guard mainLoop == nil else { throw QMPError("only one main-loop instance allowed") }
            try setPolling(properties.pollMaxNs ?? 0)
            mainLoop = arguments.id
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
    }

    func setPolling(_ ns: Int64) throws(QMPError) {
        guard ns >= 0, ns <= Self.longestPollNs else {
            throw QMPError("poll-max-ns value must be in range [0, \(Self.longestPollNs)]")
        }
        host.pollMaxNs = UInt64(ns)
    }

    /// A thread that looks for longer than this never sleeps.
    private static let longestPollNs: Int64 = 1_000_000_000

    private func addSecret(_ id: String, _ properties: SecretProperties, isOnCommandLine: Bool) throws(QMPError) {
        if isOnCommandLine, properties.data != nil, !configuration.actsAsQEMU {
            throw QMPError("a secret does not belong on the command line, where everybody can read it: use file=PATH")
        }
        secrets[id] = try Secret(properties) { (path, limit) throws(OpenError) in
            try host.contents(of: path, atMost: limit)
        }
    }

    func objectDel(_ arguments: ObjectDelArguments) async throws(QMPError) {
        let id = arguments.id
        if throttleGroups[id] != nil {
            let isUsed = graph.usesThrottleGroup(id) || devices.usesThrottleGroup(id)
            if isUsed { throw QMPError("object '\(id)' is in use, can not be deleted") }
            throttleGroups[id] = nil
            host.tls.remove(id)
        } else if host.tls.type(of: id) != nil {
            if graph.usesTLS(id) || nbdTLS == id { throw QMPError("object '\(id)' is in use, can not be deleted") }
            host.tls.remove(id)
        } else if mainLoop == id {
            host.pollMaxNs = 0
            mainLoop = nil
        } else if secrets.removeValue(forKey: id) != nil {
            host.tls.remove(id)
        } else {
            throw QMPError("object '\(id)' not found")
        }
    }

    /// Objects at once; more are some client's mistake.
    private static let objectLimit = 1024
}
