import ArgumentParser
import Daemon
import Foundation

/// `nacre serve IMAGE`: the main job in one line.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve one image over NBD, with a QMP socket beside it.",
        discussion: """
            A qcow2 image is recognised by its magic. Anything else needs --format raw, since the format of something \
            writable is never guessed. A backing file is opened where it lies in the image's own folder or below it. \
            Ctrl-C closes everything in order.
            """)

    @Argument(help: "The image: a file or a block device.") var image: String
    @Option(help: "The image's format: qcow2 or raw.") var format: ImageKind?
    @Flag(help: "Refuse writes.") var readOnly = false
    @Option(help: "The NBD socket (a new private folder by default).") var socket: String?
    @Option(help: "The QMP socket (beside the NBD socket by default).") var qmp: String?
    @Option(help: "The name of the export.") var name = "disk"
    @Option(help: "Serve on this TCP port instead of a unix socket.") var port: UInt16?
    @Option(help: "The address of --port.") var address = "127.0.0.1"

    enum ImageKind: String, ExpressibleByArgument, CaseIterable { case raw, qcow2 }

    func validate() throws {
        if port == 0 { throw ValidationError("--port is from 1 to 65535") }
        if port != nil, socket != nil { throw ValidationError("--port and --socket exclude each other") }
        if name.utf8.count > 255 { throw ValidationError("the export's name is longer than 255 bytes") }
    }

    func run() throws {
        let path = URL(filePath: image).standardizedFileURL.path
        let source = ServedImage(path: path, shown: image)
        let kind = try source.kind(asked: format)
        let folder = try PrivateFolder(needed: qmp == nil || (socket == nil && port == nil))
        defer { folder.remove() }
        let place = ServePlace(
            transport: port.map { .tcp(host: address, port: $0) }
                ?? .unix(socket.map(absolute) ?? folder.path(of: "nbd.sock")),
            qmp: qmp.map(absolute) ?? folder.path(of: "qmp.sock"), export: name)
        let text = ServeText(
            image: source, kind: kind, isReadOnly: readOnly, guessed: format == nil,
            backing: source.backingFiles(kind), place: place)
        let options = try options(path, kind, place)
        do throws(DaemonStartError) {
            try Daemon.serve(
                options,
                configuration: DaemonConfiguration(version: Program.version, backing: .ownFolder)
            ) { Program.say(text.description) }
        } catch {
            folder.remove()
            Program.fail("\(image): \(error.message)")
        }
    }

    private func absolute(_ path: String) -> String { URL(filePath: path).standardizedFileURL.path }

    /// The same options that one would give to `nacre daemon`.
    private func options(_ path: String, _ kind: ImageKind, _ place: ServePlace) throws -> [DaemonOption] {
        let driver = ServedImage.isBlockDevice(path) ? "host_device" : "file"
        return [
            DaemonOption(
                .blockdev,
                try text([
                    "driver": driver, "node-name": "file", "filename": path, "read-only": readOnly, "discard": "unmap",
                ])),
            DaemonOption(
                .blockdev,
                try text([
                    "driver": kind.rawValue, "node-name": "disk", "file": "file", "read-only": readOnly,
                    "discard": "unmap",
                ])),
            DaemonOption(.nbdServer, try text(["addr": place.transport.address])),
            DaemonOption(.chardev, "socket,id=qmp,path=\(place.qmp.replacing(",", with: ",,")),server=on,wait=off"),
            DaemonOption(.monitor, "chardev=qmp"),
            DaemonOption(
                .export,
                try text(["type": "nbd", "id": "disk", "node-name": "disk", "name": name, "writable": !readOnly])),
        ]
    }

    private func text(_ object: [String: Any]) throws -> String {
        String(decoding: try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys]), as: UTF8.self)
    }
}
