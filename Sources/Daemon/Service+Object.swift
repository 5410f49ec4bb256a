import Block
import Bytes
import Devices
import Filters
import Graph
import QMPTypes

/// A password or key. Its bytes are read where they are used, and nowhere written down: it describes itself by nothing.
struct Secret: CustomStringConvertible, CustomReflectable {
    let bytes: [UInt8]

    var description: String { "secret" }
    var customMirror: Mirror { Mirror(self, children: []) }
}

// The commands of Schema/object.json.
extension Service {
    func objectAdd(_ arguments: ObjectOptions) async throws(QMPError) {
        try await addObject(arguments, isOnCommandLine: false)
    }

    /// What stands on a command line every process of the host can read, so no secret may.
    func addObject(_ arguments: ObjectOptions, isOnCommandLine: Bool) async throws(QMPError) {
        guard Self.isIdentifier(arguments.id) else { throw QMPError("Parameter 'id' expects an identifier") }
        guard secrets[arguments.id] == nil, throttleGroups[arguments.id] == nil, mainLoop != arguments.id else {
            throw QMPError("attempt to add duplicate property '\(arguments.id)' to object (type 'container')")
        }
        guard secrets.count + throttleGroups.count < Self.objectLimit else {
            throw QMPError("There are \(Self.objectLimit) objects already")
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
        case .nothing: throw QMPError("Parameter 'qom-type' does not accept value '\(arguments.qomType.rawValue)'")
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
        secrets[id] = try secret(properties)
    }

    func objectDel(_ arguments: ObjectDelArguments) async throws(QMPError) {
        let id = arguments.id
        if throttleGroups[id] != nil {
            let isUsed = graph.usesThrottleGroup(id) || devices.usesThrottleGroup(id)
            if isUsed { throw QMPError("object '\(id)' is in use, can not be deleted") }
            throttleGroups[id] = nil
        } else if mainLoop == id {
            host.pollMaxNs = 0
            mainLoop = nil
        } else if secrets.removeValue(forKey: id) == nil {
            throw QMPError("object '\(id)' not found")
        }
    }

    private func secret(_ properties: SecretProperties) throws(QMPError) -> Secret {
        var bytes: [UInt8]
        switch (properties.data, properties.file) {
        case (nil, nil): throw QMPError("Either 'file' or 'data' must be provided")
        case (_?, _?): throw QMPError("'file' and 'data' are mutually exclusive")
        case (let data?, nil): bytes = Array(data.utf8)
        case (nil, let file?):
            do throws(OpenError) { bytes = try host.contents(of: file, atMost: Self.secretSize) } catch {
                let isClosed = error.cause != nil
                let text = isClosed ? "Failed to open file \u{201C}\(file)\u{201D}: \(error.message)" : error.message
                throw QMPError("Unable to read \(file): \(text)")
            }
        }
        if properties.format == .base64 {
            // A file that an editor wrote ends its line.
            while let last = bytes.last, last == 0x0A || last == 0x0D { bytes.removeLast() }
            guard let decoded = Base64.decode(bytes) else {
                throw QMPError("Base64 data contains invalid characters")
            }
            bytes = decoded
        }
        return Secret(bytes: bytes)
    }

    /// Bytes of the longest file of a secret.
    private static let secretSize = 64 << 10
    /// Objects at once; more are some client's mistake.
    private static let objectLimit = 1024
}
