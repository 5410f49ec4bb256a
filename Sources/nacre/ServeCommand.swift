import Block
import Commands
import Daemon
import Glibc
import HostStorage
import JSON

/// `nacre serve IMAGE`: the main job in one line.
struct ServeCommand: ProgramCommand {
    static let syntax = CommandSyntax(
        "serve", "Serves one image over NBD, with a QMP socket beside it.",
        details: [
            """
            A qcow2 image is recognised by its magic. Anything else needs --format raw, since the format of something \
            writable is never guessed. A backing file is opened where it lies in the image's own folder or below it. \
            Ctrl-C closes everything in order.
            """
        ],
        operands: [.init(.file("IMAGE"), "the image: a file or a block device")],
        options: [format, readOnly, socket, qmp, name, port, address],
        examples: [
            .init("disk.qcow2", "serve an image on a unix socket, and say how to reach it"),
            .init("--format raw --read-only --port 10809 /dev/vdb", "serve a device over TCP to readers"),
        ])

    private static let format = OptionSyntax(
        "format", short: "f", value: .oneOf("raw", "qcow2"), "the image's format, if it is not qcow2")
    private static let readOnly = OptionSyntax("read-only", short: "r", "refuse writes")
    private static let socket = OptionSyntax(
        "socket", short: "k", value: .file("PATH"), "the NBD socket; in a new private folder if not given")
    private static let qmp = OptionSyntax(
        "qmp", value: .file("PATH"), "the QMP socket; beside the NBD socket if not given")
    private static let name = OptionSyntax(
        "name", short: "x", value: "NAME", "the name of the export; disk if not given")
    private static let port = OptionSyntax(
        "port", short: "p", value: "PORT", "serve on this TCP port instead of a unix socket")
    private static let address = OptionSyntax(
        "address", short: "b", value: "HOST", "the address of --port; 127.0.0.1 if not given")

    enum ImageKind: String { case raw, qcow2 }

    private let image: String
    private let format: ImageKind?
    private let isReadOnly: Bool
    private let socket: String?
    private let qmp: String?
    private let name: String
    private let port: UInt16?
    private let address: String

    static func run(_ words: [String], asQEMU: Bool) -> Never {
        do throws(UsageMistake) {
            try ServeCommand(read(words)).run()
        } catch { misuse(error.message) }
        exit(0)
    }

    init(_ words: CommandWords) throws(UsageMistake) {
        guard words.operands.count == 1 else { throw UsageMistake("expecting one image") }
        image = words.operands[0]
        format = try words[Self.format].map { word throws(UsageMistake) in
            guard let kind = ImageKind(rawValue: word) else { throw UsageMistake("--format is raw or qcow2") }
            return kind
        }
        port = try words[Self.port].map { word throws(UsageMistake) in
            guard let port = UInt16(word), port > 0 else { throw UsageMistake("--port is from 1 to 65535") }
            return port
        }
        isReadOnly = words.has(Self.readOnly)
        socket = words[Self.socket]
        qmp = words[Self.qmp]
        name = words[Self.name] ?? "disk"
        address = words[Self.address] ?? "127.0.0.1"
        if port != nil, socket != nil { throw UsageMistake("--port and --socket exclude each other") }
        if name.utf8.count > 255 { throw UsageMistake("the export's name is longer than 255 bytes") }
    }

    private func run() {
        let path = HostPath.absolute(image)
        let source = ServedImage(path: path, shown: image)
        let kind = source.kind(asked: format)
        do throws(OpenError) {
            let folder = try PrivateFolder(needed: qmp == nil || (socket == nil && port == nil))
            defer { folder.remove() }
            serve(source, kind, folder)
        } catch { Program.fail("\(image): \(error.message)") }
    }

    private func serve(_ source: ServedImage, _ kind: ImageKind, _ folder: PrivateFolder) {
        let place = ServePlace(
            transport: port.map { .tcp(host: address, port: $0) }
                ?? .unix(socket.map(HostPath.absolute) ?? folder.path(of: "nbd.sock")),
            qmp: qmp.map(HostPath.absolute) ?? folder.path(of: "qmp.sock"), export: name)
        let text = ServeText(
            image: source, kind: kind, isReadOnly: isReadOnly, guessed: format == nil,
            backing: source.backingFiles(kind), place: place)
        let options = options(source.path, kind, place)
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

    /// The same options that one would give to `nacre daemon`.
    private func options(_ path: String, _ kind: ImageKind, _ place: ServePlace) -> [DaemonOption] {
        let driver = ServedImage.isBlockDevice(path) ? "host_device" : "file"
        return [
            DaemonOption(
                .blockdev,
                text([
                    "driver": .string(driver), "node-name": "file", "filename": .string(path),
                    "read-only": .bool(isReadOnly),
                    "discard": "unmap",
                ])),
            DaemonOption(
                .blockdev,
                text([
                    "driver": .string(kind.rawValue), "node-name": "disk", "file": "file",
                    "read-only": .bool(isReadOnly),
                    "discard": "unmap",
                ])),
            DaemonOption(.nbdServer, text(["addr": place.transport.address])),
            DaemonOption(.chardev, "socket,id=qmp,path=\(place.qmp.replacing(",", with: ",,")),server=on,wait=off"),
            DaemonOption(.monitor, "chardev=qmp"),
            DaemonOption(
                .export,
                text([
                    "type": "nbd", "id": "disk", "node-name": "disk", "name": .string(name),
                    "writable": .bool(!isReadOnly),
                ])),
        ]
    }

    private func text(_ object: JSONValue) -> String { object.text() }
}
