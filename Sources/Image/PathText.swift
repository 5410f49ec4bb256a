/// Paths as text, as QEMU combines the names of an image and of its backing file.
enum PathText {
    /// The folder part with its last slash, or nothing.
    static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "" }
        return String(path[...slash])
    }

    /// What `name`, as an image at `path` states it, means from here.
    static func combine(_ path: String, _ name: String) -> String {
        name.hasPrefix("/") || hasProtocol(name) ? name : folder(of: path) + name
    }

    /// Whether a name begins like a protocol (`nbd:`, `json:`): a colon before the first slash.
    static func hasProtocol(_ name: String) -> Bool {
        guard let mark = name.first(where: { $0 == ":" || $0 == "/" }) else { return false }
        return mark == ":"
    }
}
