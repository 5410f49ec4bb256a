import Block
import Devices
import Graph
import JSON
import QMPTypes

/// Takes the words of clients up to QEMU 2.8 beside today's (docs/decisions/0004-dialects.md): the wrapped arguments of
/// `blockdev-add` and `object-add`. What today's language has an answer to is passed on as it is.
final class OlderDialect: QMPHandler {
    private let service: Service

    init(_ service: Service) { self.service = service }

    var commandNames: [String] { service.commandNames }
    func clientCame(_ client: any QMPClient) { service.clientCame(client) }
    func clientLeft(_ client: any QMPClient) { service.clientLeft(client) }

    func call(
        _ command: String, _ arguments: JSONObject, from client: any QMPClient
    ) async throws(QMPError) -> JSONValue {
        switch command {
        case "blockdev-add":
            // Nothing but the wrapper: it is a member of no modern command.
            if arguments.count == 1, case .object(let options)? = arguments["options"] {
                try await blockdevAdd(options)
                return .object(JSONObject())
            }
        case "object-add":
            if case .object(let properties)? = arguments["props"] {
                return try await service.call(command, try Self.unwrapped(arguments, properties), from: client)
            }
        default: break
        }
        return try await service.call(command, arguments, from: client)
    }

    // MARK: blockdev-add

    private func blockdevAdd(_ options: JSONObject) async throws(QMPError) {
        var members = try QAPIMembers(QAPIInput(.object(try Self.withoutWriteback(options)), path: "options"))
        let backend = try BlockdevBackendOptions(&members)
        var node = try NodeOptions(try BlockdevOptions(&members))
        try members.finish()
        if let aio = backend.aio {
            if aio == .native, node.common.direct != true { throw QMPError("aio=native requires cache.direct=true") }
            node.driver.setFileAIO(FileDriverOptions.AIO(rawValue: aio.rawValue))
        }
        guard let id = backend.id else {
            guard node.nodeName != nil else {
                throw QMPError("'id' and/or 'node-name' need to be specified for the root node")
            }
            do { return try await service.graph.add(node) } catch { throw QMPError(error) }
        }
        var request = BackendRequest(id, origin: .blockdevAdd, medium: node)
        request.rootState = RootState(node.common)
        request.accountsInvalid = backend.statsAccountInvalid ?? true
        request.accountsFailed = backend.statsAccountFailed ?? true
        do { try await service.devices.add(request) } catch { throw QMPError(error) }
    }

    /// The cache's third switch: what it says is so anyway, or cannot be had.
    private static func withoutWriteback(_ options: JSONObject) throws(QMPError) -> JSONObject {
        guard case .object(var cache)? = options["cache"], let writeback = cache["writeback"] else { return options }
        guard let isOn = writeback.bool else {
            throw QMPError("Invalid parameter type for 'options.cache.writeback', expected: boolean")
        }
        guard isOn else { throw QMPError("'cache.writeback' cannot be off: export the device with 'writethrough'") }
        cache["writeback"] = nil
        var result = options
        result["cache"] = .object(cache)
        return result
    }

    // MARK: object-add

    private static func unwrapped(_ arguments: JSONObject, _ properties: JSONObject) throws(QMPError) -> JSONObject {
        var result = arguments
        result["props"] = nil
        for member in properties.members {
            guard result[member.name] == nil else { throw QMPError("Parameter 'props.\(member.name)' is unexpected") }
            result[member.name] = member.value
        }
        return result
    }
}

extension DriverOptions {
    /// Sets which way requests go to the kernel, for the file below where that says nothing itself.
    fileprivate mutating func setFileAIO(_ aio: FileDriverOptions.AIO?) {
        switch self {
        case .file(var own):
            own.aio = own.aio ?? aio
            self = .file(own)
        case .hostDevice(var own):
            own.aio = own.aio ?? aio
            self = .hostDevice(own)
        case .raw(var own):
            own.file.setFileAIO(aio)
            self = .raw(own)
        case .qcow2(var own):
            own.file.setFileAIO(aio)
            self = .qcow2(own)
        case .blkdebug(var own):
            own.image.setFileAIO(aio)
            self = .blkdebug(own)
        case .throttle(var own):
            own.file.setFileAIO(aio)
            self = .throttle(own)
        case .copyOnRead(var own):
            own.file.setFileAIO(aio)
            self = .copyOnRead(own)
        case .preallocate(var own):
            own.file.setFileAIO(aio)
            self = .preallocate(own)
        case .compress(var own):
            own.file.setFileAIO(aio)
            self = .compress(own)
        case .nullCo, .nullAio, .nbd: break
        }
    }
}

extension ChildReference {
    fileprivate mutating func setFileAIO(_ aio: FileDriverOptions.AIO?) {
        guard case .options(var options) = self else { return }
        options.driver.setFileAIO(aio)
        self = .options(options)
    }
}
