import Block
import Filters
import JSON
package import Graph
package import QMPTypes

/// The objects that a tool of the command line is given (`--object`), for what it opens; they live as long as this.
package final class ToolObjects {
    private var groups: [ThrottleGroup] = []

    /// What `--object help` answers.
    package static let help = "List of user creatable objects:\n  throttle-group\n"

    /// Makes what each text describes: a type, `id=…`, and its properties, or a JSON object.
    package init(_ texts: [String], in graph: Graph) throws(QMPError) {
        for text in texts {
            let (value, isText) = try KeyValue.parse(text, implied: "qom-type")
            let options = try ObjectOptions(QAPIInput(.object(value), isText: isText))
            switch options.variant {
            case .throttleGroup(let properties):
                let limits = try Filters.ThrottleLimits(properties)
                guard graph.throttleGroups.group(options.id) == nil else {
                    throw QMPError("attempt to add duplicate property '\(options.id)' to object (type 'container')")
                }
                let group = graph.throttleGroups.makeGroup(options.id)
                group.setLimits(limits)
                groups.append(group)
            // It says how a daemon waits for its clients; a tool has none.
            case .mainLoop: break
            case .secret: throw QMPError("secrets are not supported: they are for encryption, which is not there")
            case .nothing:
                throw QMPError("Parameter 'qom-type' does not accept value '\(options.qomType.rawValue)'")
            }
        }
    }
}
