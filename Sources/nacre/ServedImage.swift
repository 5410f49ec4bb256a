import Foundation
import Image

/// The image that `serve` is asked to serve, before it is opened as one.
struct ServedImage: Sendable {
    let path: String
    /// As the user wrote it.
    let shown: String

    /// The format: what was asked for, or qcow2 by its magic. Nothing else is guessed.
    func kind(asked: ServeCommand.ImageKind?) -> ServeCommand.ImageKind {
        guard FileManager.default.fileExists(atPath: path) else {
            Program.fail("\(shown): Could not open '\(shown)': No such file or directory")
        }
        guard Self.isRegular(path) || Self.isBlockDevice(path) else {
            Program.fail("\(shown): neither a file nor a block device")
        }
        if let asked { return asked }
        guard let file = FileHandle(forReadingAtPath: path) else {
            Program.fail("\(shown): Could not open '\(shown)': Permission denied")
        }
        defer { try? file.close() }
        let magic = (try? file.read(upToCount: 4)) ?? Data()
        guard magic == Data([0x51, 0x46, 0x49, 0xfb]) else {
            Program.fail(
                """
                \(shown): not a qcow2 image. The format of something writable is never guessed: \
                say --format raw to serve the file's bytes as the disk.
                """)
        }
        return .qcow2
    }

    /// The backing files that will be opened with it: path and format.
    func backingFiles(_ kind: ServeCommand.ImageKind) -> [String] {
        guard kind == .qcow2 else { return [] }
        let path = path
        return OwnThread.run { thread in
            let tool = ImageTool(
                files: HostFiles(thread), context: thread, rule: .ownFolder, output: { _ in }, report: { _ in },
                localTime: { _ in "" })
            return await tool.backingFiles(of: path, format: kind.rawValue).map { "\($0.path) (\($0.format))" }
        }
    }

    static func isBlockDevice(_ path: String) -> Bool { type(path) == .typeBlockSpecial }
    static func isRegular(_ path: String) -> Bool { type(path) == .typeRegular }

    private static func type(_ path: String) -> FileAttributeType? {
        let target = URL(filePath: path).resolvingSymlinksInPath().path
        return (try? FileManager.default.attributesOfItem(atPath: target))?[.type] as? FileAttributeType
    }

    /// A name beside the image that nothing has yet, for the overlay of the printed command.
    var overlay: (path: String, node: String) {
        let url = URL(filePath: path)
        let folder = url.deletingLastPathComponent()
        let stem = url.deletingPathExtension().lastPathComponent
        for number in 1...999 {
            let candidate = folder.appending(path: "\(stem)-\(number).qcow2").path
            if !FileManager.default.fileExists(atPath: candidate) { return (candidate, "disk-\(number)") }
        }
        return (folder.appending(path: "\(stem)-overlay.qcow2").path, "disk-overlay")
    }
}
