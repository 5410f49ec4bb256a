import Commands

extension NBDProgram {
    static let syntax = CommandSyntax(
        "nbd", "Serves one image over NBD, or lists what a server has, as qemu-nbd does.",
        details: [
            """
            Without --persistent it ends when the last client has gone. Where it is started for a socket (LISTEN_FDS and \
            LISTEN_PID, as systemd does) it serves on that.
            """
        ],
        operands: [.init(.image, count: .optional, "the image; with --list and --disconnect there is none")],
        options: [version, trace] + connection + exposed + imageOptions + process + kernel,
        examples: [
            .init("-k /run/disk.sock -f qcow2 -t disk.qcow2", "serve an image on a unix socket"),
            .init("--list -k /run/disk.sock", "tell what is served there"),
        ])

    private static let version = OptionSyntax("version", short: "V", group: .general, "say the version")
    private static let trace = OptionSyntax(
        "trace", short: "T", value: "PATTERN", group: .general, "accepted; there are no trace points")

    private static let connecting = OptionGroup("Connection")
    private static let connection = [
        OptionSyntax("port", short: "p", value: "PORT", group: connecting, "the TCP port; 10809 if not given"),
        OptionSyntax("bind", short: "b", value: "HOST", group: connecting, "the address; 0.0.0.0 if not given"),
        OptionSyntax("socket", short: "k", value: .file("PATH"), group: connecting, "serve on this unix socket"),
        OptionSyntax(
            "shared", short: "e", value: "COUNT", group: connecting, "so many clients at a time; 1 if not given, 0: any"
        ),
        OptionSyntax("persistent", short: "t", group: connecting, "go on after the last client"),
        OptionSyntax("verbose", short: "v", group: connecting, "accepted; what goes wrong is told in any case"),
        OptionSyntax(
            "export-name", short: "x", value: "NAME", group: connecting, "the export's name; empty if not given"),
        OptionSyntax("description", short: "D", value: "TEXT", group: connecting, "what clients are told of it"),
        OptionSyntax("list", short: "L", group: connecting, "list the exports of a server"),
        OptionSyntax("tls-creds", value: "ID", group: connecting, "TLS with these credentials, made with --object"),
        OptionSyntax(
            "tls-authz", value: "ID", group: connecting, "ask this object whether a client's certificate may come in"),
        OptionSyntax(
            "tls-hostname", value: "NAME", group: connecting, "with --list: whose the server's certificate must be"),
    ]

    private static let exposing = OptionGroup("What is shown")
    private static let exposed = [
        OptionSyntax("offset", short: "o", value: "BYTES", group: exposing, "leave out so many bytes at the beginning"),
        OptionSyntax("allocation-depth", short: "A", group: exposing, "also in which image of the chain data lies"),
        OptionSyntax(
            "bitmap", short: "B", value: "NAME", group: exposing, "also this dirty bitmap; may be given again"),
    ]

    private static let imageOptions: [OptionSyntax] = [
        .format, .imageOpts, .object,
        OptionSyntax("read-only", short: "r", group: .opening, "to be read only"),
        OptionSyntax(
            "snapshot", short: "s", group: .opening, "on a new image above it, which is thrown away at the end"),
        OptionSyntax(
            "load-snapshot", short: "l", value: "SNAPSHOT", group: .opening,
            "an internal snapshot, to be read only: its name or id, or snapshot.id=ID,snapshot.name=NAME"),
        OptionSyntax("nocache", short: "n", group: .opening, "as --cache none"),
        OptionSyntax(
            "cache", value: .cache, group: .opening,
            "none, writeback, writethrough, directsync or unsafe; writeback if not given"),
        OptionSyntax(
            "aio", value: .oneOf("threads", "native", "io_uring", as: "MODE"), group: .opening,
            "how files are read and written: threads, native or io_uring"),
        OptionSyntax(
            "discard", value: .oneOf("ignore", "unmap", as: "MODE"), group: .opening,
            "what becomes of discards: ignore or unmap; ignore if not given"),
        OptionSyntax(
            "detect-zeroes", value: .oneOf("off", "on", "unmap", as: "MODE"), group: .opening,
            "whether zeros that are written are kept as such: off, on, or unmap"),
    ]

    private static let running = OptionGroup("Process")
    private static let process = [
        OptionSyntax("fork", group: running, "go on in the background once clients can connect"),
        OptionSyntax("pid-file", value: .file("PATH"), group: running, "write the process id there"),
        OptionSyntax("selinux-label", value: "LABEL", group: running, "refused: sockets are not labelled"),
    ]

    private static let attaching = OptionGroup("The kernel's client")
    private static let kernel = [
        OptionSyntax(
            "connect", short: "c", value: .file("DEVICE"), group: attaching, "attach the image to this device"),
        OptionSyntax(
            "disconnect", short: "d", group: attaching, "detach the device that is named in the image's place"),
    ]
}
