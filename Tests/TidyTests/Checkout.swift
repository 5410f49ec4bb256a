import Foundation

/// The files of the checkout that these tests were built from.
enum Checkout {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Paths below `folder`, relative to the root, without hidden files, build products and the demo image.
    static func files(in folder: String = "", suffix: String = "") -> [String] {
        let start = folder.isEmpty ? root : root.appending(path: folder)
        guard let walker = FileManager.default.enumerator(atPath: start.path) else { return [] }
        var result: [String] = []
        while let name = walker.nextObject() as? String {
            if name.hasPrefix(".") || name.contains("/.") || name == "demo" || name.hasSuffix("__pycache__") {
                walker.skipDescendants()
                continue
            }
            guard name.hasSuffix(suffix), walker.fileAttributes?[.type] as? FileAttributeType == .typeRegular else {
                continue
            }
            result.append(folder.isEmpty ? name : folder + "/" + name)
        }
        return result.sorted()
    }

    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appending(path: path).path)
    }

    /// The rooms: folders of Sources.
    static func rooms() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appending(path: "Sources").path)
            .filter { !$0.hasPrefix(".") }.sorted()
    }
}
