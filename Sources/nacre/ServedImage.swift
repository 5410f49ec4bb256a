import Block
import Daemon
import HostStorage
import Image

/// The image that `serve` is asked to serve, before it is opened as one.
struct ServedImage: Sendable {
    let path: String
    /// As the user wrote it.
    let shown: String

    /// The format: what was asked for, or qcow2 by its magic. Nothing else is guessed.
    func kind(asked: ServeCommand.ImageKind?) -> ServeCommand.ImageKind {
        switch HostPath.kind(of: path) {
        case nil: Program.fail("\(shown): Could not open '\(shown)': No such file or directory")
        case .file, .blockDevice: break
        case .folder, .other: Program.fail("\(shown): neither a file nor a block device")
        }
        if let asked { return asked }
        let magic: [UInt8]
        do throws(OpenError) { magic = try HostText.start(of: path, 4) } catch {
            Program.fail("\(shown): Could not open '\(shown)': \(error.message)")
        }
        guard magic == [0x51, 0x46, 0x49, 0xfb] else {
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
                files: HostOpener(thread), context: thread, rule: .ownFolder, output: { _ in }, report: { _ in },
                localTime: { _ in "" })
            return await tool.backingFiles(of: path, format: kind.rawValue).map { "\($0.path) (\($0.format))" }
        }
    }

    static func isBlockDevice(_ path: String) -> Bool { HostPath.kind(of: path) == .blockDevice }

    /// A name beside the image that nothing has yet, for the overlay of the printed command.
    var overlay: (path: String, node: String) {
        let folder = HostPath.folder(of: path)
        let name = path.split(separator: "/").last ?? "disk"
        let stem = name.lastIndex(of: ".").map { $0 > name.startIndex ? name[..<$0] : name } ?? name
        for number in 1...999 {
            let candidate = HostPath.absolute("\(folder)/\(stem)-\(number).qcow2")
            if HostPath.kind(of: candidate) == nil { return (candidate, "disk-\(number)") }
        }
        return (HostPath.absolute("\(folder)/\(stem)-overlay.qcow2"), "disk-overlay")
    }
}
