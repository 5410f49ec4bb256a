import Block
import JSON
import Monitor
import QMPTypes

/// A few commands that show what a monitor does with them.
final class ScriptedHandler: QMPHandler {
    /// The commands that were begun, in order.
    private(set) var begun: [String] = []
    weak var monitor: Monitor?
    /// What `wait` waits for.
    let gate = WaitQueue()
    private var isOpen = false
    /// Clients that have negotiated.
    private(set) var clients = 0

    func clientCame(_ client: any QMPClient) { clients += 1 }
    func clientLeft(_ client: any QMPClient) { clients -= 1 }

    let commandNames = ["query-version", "qmp_capabilities", "wait", "raise", "fail", "echo", "large", "take"]

    func open() {
        isOpen = true
        gate.wakeAll()
    }

    func call(
        _ command: String, _ arguments: JSONObject, from client: any QMPClient
    ) async throws(QMPError) -> JSONValue {
        begun.append(command)
        switch command {
        case "query-version": return ["package": "p"]
        case "echo": return .object(arguments)
        case "wait":
            while !isOpen { await gate.wait() }
            return .object(JSONObject())
        case "raise":
            monitor?.broadcast(.blockExportDeleted(BlockExportDeletedEvent(id: "e")), timeUs: 1_000_002)
            return .object(JSONObject())
        case "fail": throw QMPError("Device 'd' not found", class: .deviceNotFound)
        case "take": return client.takeDescriptor().map { .int(Int64($0)) } ?? .null
        case "large": return .string(String(repeating: "x", count: 300_000))
        default: throw QMPError("The command \(command) has not been found", class: .commandNotFound)
        }
    }
}
