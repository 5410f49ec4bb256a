import Block
import Filters
import HostIO
import JSON
import QMPTypes

// Objects and their properties, by path: the other commands of Schema/object.json.
extension Service {
    /// What a path leads to.
    private enum Place {
        case root, objects
        case mainLoop
        case ioThread(String, ThreadObject)
        case secret(String)
        case throttleGroup(ThrottleGroup)
        case tls(ObjectType)

        /// The name of its type.
        var type: String {
            switch self {
            case .root, .objects: "container"
            case .mainLoop: "main-loop"
            case .ioThread: "iothread"
            case .secret: "secret"
            case .throttleGroup: "throttle-group"
            case .tls(let type): type.rawValue
            }
        }
    }

    private func place(_ path: String) throws(QMPError) -> Place {
        let parts = path.split(separator: "/").map(String.init)
        if path.hasPrefix("/"), parts.isEmpty { return .root }
        if parts == ["objects"] { return .objects }
        let isWhole = parts.count == 2 && parts[0] == "objects"
        if let id = parts.last, isWhole || (parts.count == 1 && !path.hasPrefix("/")) {
            if id == mainLoop { return .mainLoop }
            if let thread = ioThreads[id] { return .ioThread(id, thread) }
            if let group = throttleGroups[id] { return .throttleGroup(group) }
            if secrets[id] != nil { return .secret(id) }
            if let type = host.tls.type(of: id) { return .tls(type) }
        }
        throw QMPError("Device '\(path)' not found", class: .deviceNotFound)
    }

    private static let pollMaxNs = "poll-max-ns"

    func qomList(_ arguments: QomListArguments) async throws(QMPError) -> [ObjectPropertyInfo] {
        var list = [ObjectPropertyInfo(name: "type", type: "string")]
        switch try place(arguments.path) {
        case .root: list.append(ObjectPropertyInfo(name: "objects", type: "child<container>"))
        case .objects:
            if let mainLoop { list.append(ObjectPropertyInfo(name: mainLoop, type: "child<main-loop>")) }
            list += ioThreads.keys.sorted().map { ObjectPropertyInfo(name: $0, type: "child<iothread>") }
            list += secrets.keys.sorted().map { ObjectPropertyInfo(name: $0, type: "child<secret>") }
            list += throttleGroups.keys.sorted().map { ObjectPropertyInfo(name: $0, type: "child<throttle-group>") }
            list += host.tls.ids.map {
                ObjectPropertyInfo(name: $0, type: "child<\(host.tls.type(of: $0)?.rawValue ?? "")>")
            }
        case .mainLoop: list.append(ObjectPropertyInfo(name: Self.pollMaxNs, type: "int"))
        case .ioThread: list += PollingOptions.names.map { ObjectPropertyInfo(name: $0, type: "int") }
        // What a secret holds is told to nobody.
        case .secret, .tls: break
        case .throttleGroup:
            list.append(ObjectPropertyInfo(name: "limits", type: "ThrottleLimits"))
            list += Filters.ThrottleLimits.propertyNames.map { ObjectPropertyInfo(name: "x-" + $0, type: "int") }
        }
        return list
    }

    func qomGet(_ arguments: QomGetArguments) async throws(QMPError) -> JSONValue {
        let place = try place(arguments.path)
        if arguments.property == "type" { return .string(place.type) }
        if case .mainLoop = place, arguments.property == Self.pollMaxNs { return .int(Int64(host.pollMaxNs)) }
        if case .ioThread(_, let object) = place, let value = object.polling[arguments.property] { return .int(value) }
        if case .throttleGroup(let group) = place {
            let limits = group.limits.wire
            if arguments.property == "limits" { return .object(limits) }
            if arguments.property.hasPrefix("x-"), let value = limits[String(arguments.property.dropFirst(2))] {
                return value
            }
        }
        throw QMPError("Property '\(place.type).\(arguments.property)' not found")
    }

    func qomSet(_ arguments: QomSetArguments) async throws(QMPError) {
        let place = try place(arguments.path)
        let name = arguments.property
        if name == "type" { throw QMPError("Property '\(place.type).type' is not writable") }
        if case .mainLoop = place, name == Self.pollMaxNs {
            return try setPolling(Int64(QAPIInput(arguments.value, path: name)))
        }
        if case .ioThread(let id, var object) = place, object.polling[name] != nil {
            try object.polling.set(name, Int64(QAPIInput(arguments.value, path: name)))
            ioThreads[id] = object
            return
        }
        guard case .throttleGroup(let group) = place else {
            throw QMPError("Property '\(place.type).\(name)' not found")
        }
        guard name == "limits" else {
            let isKnown = name.hasPrefix("x-") && group.limits.wire[String(name.dropFirst(2))] != nil
            throw QMPError(
                isKnown
                    ? "Property cannot be set after initialization" : "Property '\(place.type).\(name)' not found")
        }
        let given = try QMPTypes.ThrottleLimits(QAPIInput(arguments.value, path: "limits"))
        var limits = group.limits
        if case .object(let members) = given.json { try limits.take(members) }
        do { try limits.check() } catch { throw QMPError(error) }
        group.setLimits(limits)
    }
}
