import Daemon
import JSON

/// The file names that may be opened: those that whoever uses the program has said. A name inside an image is data; it
/// adds none, but by QEMU's rules.
struct GrantedNames {
    private var names: Set<String> = []
    /// Commands of the monitor for people, in which names stand among others.
    private var lines: [String] = []

    /// Whatever a client or a user says may be meant as a name: every string in it, also without the protocol's name
    /// (`file:`) in front.
    mutating func insert(_ said: JSONValue) {
        switch said {
        case .string(let text):
            names.insert(text)
            if text.hasPrefix("file:") { names.insert(String(text.dropFirst("file:".count))) }
        case .array(let items): for item in items { insert(item) }
        case .object(let object):
            for member in object.members {
                insert(member.value)
                if member.name == "command-line", let line = member.value.string { lines.append(Self.plain(line)) }
            }
        default: break
        }
    }

    /// Nothing else was asked of the host.
    func judge(_ host: MemoryHost, _ backing: DaemonConfiguration.Backing) throws(Finding) {
        var foreign = host.asked.subtracting(names)
        if backing == .qemu { foreign.subtract(MemoryHost.namedInImages.filter { !$0.hasPrefix("json:") }) }
        foreign = foreign.filter { name in !lines.contains { $0.contains(Self.plain(name)) } }
        try expect(foreign.isEmpty, "opened, though nobody named it: \(foreign.sorted())")
    }

    /// What of a text is the same however a line quotes it: without quotes, commas that are doubled, and what may follow a
    /// backslash.
    private static func plain(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { !"\\\"'\n\r,nr".unicodeScalars.contains($0) }))
    }
}
