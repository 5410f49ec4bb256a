/// What `serve` prints once everything is ready: what is served, and how to connect.
struct ServeText: Sendable, CustomStringConvertible {
    let image: ServedImage
    let kind: ServeCommand.ImageKind
    let isReadOnly: Bool
    let guessed: Bool
    /// Files below the image, opened with it because they lie in its folder.
    let backing: [String]
    let place: ServePlace

    var description: String {
        """
        \(image.shown): \(kind.rawValue)\(guessed ? ", by its magic" : ""), served \(isReadOnly ? "read-only" : "writable")
        \(below)
          URI       \(place.uri)
          look      nbdinfo \(quoted(place.uri))
          attach    qemu-system-x86_64 -drive \(quoted("file=\(place.uri.replacing(",", with: ",,")),format=raw,if=virtio"))
        \(snapshot)
        Ctrl-C closes it in order.

        """
    }

    private var below: String {
        backing.map { "on top of \($0), from the image's own folder\n" }.joined()
    }

    private var snapshot: String {
        let overlay = image.overlay
        let command = [
            "nacre", "qmp", quoted(place.qmp), "blockdev-snapshot-sync", "node-name=disk",
            "snapshot-node-name=\(overlay.node)", quoted("snapshot-file=\(overlay.path)"),
        ]
        let line = "  snapshot  \(command.joined(separator: " "))\n"
        return isReadOnly ? "" : line
    }

    /// As one word of a shell.
    private func quoted(_ text: String) -> String {
        let plain = text.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                || [0x2d, 0x2e, 0x2f, 0x3a, 0x3d, 0x5f, 0x2c, 0x40, 0x2b].contains(byte)
        }
        return plain ? text : "'" + text.replacing("'", with: "'\\''") + "'"
    }
}
