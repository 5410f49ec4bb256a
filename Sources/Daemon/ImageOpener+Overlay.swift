import Block
import Graph
import HostStorage
import Image
import Qcow2

extension ImageOpener {
    /// Opens an image to be read, and on it a new one that takes what is written, and that nobody else can find.
    func openOverlay(on options: NodeOptions, _ opening: IOOpening) async throws(OpenError) -> Opened {
        var base = options
        base.common.isReadOnly = true
        let below = try await graph.open(base)
        do throws(OpenError) {
            let size = graph.node(below)?.image.virtualSize ?? 0
            let folder = try ScratchFolder()
            defer { folder.remove() }
            let path = folder.path + "/overlay"
            try await host.makeFile(FileCreation(filename: path, size: 0), pace: .none)
            let file = ChildReference.options(NodeOptions(.file(FileDriverOptions(filename: path))))
            try await graph.use(file, "overlay", used: [.consistentRead, .write, .resize], shared: []) {
                (root) async throws(OpenError) in
                try await Qcow2Create.create(on: root, CreateOptions(size: size))
            }
            var own = Qcow2Options(file: file)
            own.backing = .child(.node(below))
            var top = NodeOptions(.qcow2(own))
            top.common = options.common
            top.common.isReadOnly = false
            // Nothing of it is kept.
            top.common.noFlush = true
            let name = try await graph.open(top)
            return Opened(name, isGuessedRaw: false, others: [below], words: nil, opening: opening)
        } catch {
            do throws(OpenError) { try await graph.delete(below) } catch { warn(error.text) }
            throw error
        }
    }
}

/// A folder of our own, closed to others.
struct ScratchFolder {
    let path: String

    init() throws(OpenError) {
        let above = HostProcess.environment("TMPDIR") ?? "/var/tmp"
        path = "\(above)/nacre-\(UInt64.random(in: 0...UInt64.max))"
        do {
            try HostFolder.makePrivate(path)
        } catch { throw OpenError("Could not create temporary folder '\(path)'") }
    }

    func remove() { HostFolder.remove(path) }
}
