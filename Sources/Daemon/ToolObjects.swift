import Block
import Filters
import JSON
package import Graph
package import QMPTypes

/// The objects that a tool of the command line is given (`--object`), for what it opens; they live as long as this.
package final class ToolObjects {
    private var groups: [ThrottleGroup] = []
    private var secrets: [String: Secret] = [:]

    /// What `--object help` answers.
    package static let help =
        "List of user creatable objects:\n"
        + ObjectType.allCases.filter { $0 != .mainLoop && $0 != .iothread }.map { "  \($0.rawValue)\n" }.joined()

    /// Makes what each text describes: a type, `id=…`, and its properties, or a JSON object.
    package init(_ texts: [String], in graph: Graph, on host: HostOpener, asQEMU: Bool) throws(QMPError) {
        let contents = { (path: String, limit: Int) throws(OpenError) in try host.contents(of: path, atMost: limit) }
        for text in texts {
            let (value, isText) = try KeyValue.parse(text, implied: "qom-type")
            let options = try ObjectOptions(QAPIInput(.object(value), isText: isText))
            guard !host.tls.contains(options.id) else {
                throw QMPError("attempt to add duplicate property '\(options.id)' to object (type 'container')")
            }
            if try host.tls.make(options, on: host, secret: { secrets[$0]?.bytes }) { continue }
            host.tls.noteOther(options.id)
            switch options.variant {
            case .throttleGroup(let properties):
                let limits = try Filters.ThrottleLimits(properties)
                let group = graph.throttleGroups.makeGroup(options.id)
                group.setLimits(limits)
                groups.append(group)
            // It says how a daemon waits for its clients; a tool has none.
            case .mainLoop, .iothread: break
            case .secret(let properties):
                secrets[options.id] = try Secret(properties, isSeenByAll: !asQEMU, contents: contents)
            default:
                throw QMPError("Parameter 'qom-type' does not accept value '\(options.qomType.rawValue)'")
            }
        }
    }
}
