/// File names as text; nothing here asks a host.
public enum PathText {
    /// Whether the text starts with a protocol (`nbd:…`, `json:…`): a colon before any slash.
    public static func protocolName(_ text: String) -> String? {
        guard let mark = text.firstIndex(where: { $0 == ":" || $0 == "/" }), text[mark] == ":" else { return nil }
        return String(text[..<mark])
    }

    /// The folder part, with its slash; empty where there is none.
    public static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "" }
        return String(path[...slash])
    }

    /// What `name` in the image at `path` means: relative names start from the image's folder, protocols from nowhere.
    public static func combine(_ path: String, _ name: String) -> String {
        name.hasPrefix("/") || protocolName(name) != nil ? name : folder(of: path) + name
    }

    /// The absolute path, with `.`, `..` and doubled slashes resolved by name.
    public static func absolute(_ path: String, from folder: String) -> String {
        let whole = path.hasPrefix("/") ? path : folder + "/" + path
        var parts: [Substring] = []
        for part in whole.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// Whether an absolute path lies in an absolute folder or below.
    static func lies(_ path: String, in folder: String) -> Bool {
        folder == "/" || path.hasPrefix(folder + "/")
    }
}
