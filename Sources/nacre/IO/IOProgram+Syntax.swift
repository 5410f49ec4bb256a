import Commands

extension IOProgram {
    static let syntax = CommandSyntax(
        "io", "Reads from an image and writes to it, request by request, as qemu-io does.",
        details: [
            """
            Without -c the commands come from standard input, a line each; help lists them. The exit status is 1 where \
            one of them failed.
            """
        ],
        operands: [.init(.image, count: .optional, "the image; the command open opens one later")],
        options: [
            command, version, trace, .format, .imageOpts, .object, readOnly, snapshot, .forceShare, noCache, .cache,
            discard,
            aio, nativeAIO, copyOnRead, misalign,
        ],
        examples: [
            .init("-c length -r disk.qcow2", "say how long the disk is"),
            .init("-f qcow2 disk.qcow2", "try one command after the other"),
        ])

    static let command = OptionSyntax(
        "cmd", short: "c", value: "COMMAND", "carry out this command, words and all; may be given again")
    static let version = OptionSyntax("version", short: "V", group: .general, "say the version")
    static let trace = OptionSyntax(
        "trace", short: "T", value: "PATTERN", group: .general, "accepted; there are no trace points")
    static let readOnly = OptionSyntax("read-only", short: "r", group: .opening, "to be read only")
    static let snapshot = OptionSyntax(
        "snapshot", short: "s", group: .opening, "on a new image above it, which is thrown away at the end")
    static let noCache = OptionSyntax("nocache", short: "n", group: .opening, "as --cache none")
    static let discard = OptionSyntax(
        "discard", short: "d", value: .oneOf("ignore", "unmap", as: "MODE"), group: .opening,
        "what becomes of discards: ignore or unmap; unmap if not given")
    static let aio = OptionSyntax(
        "aio", short: "i", value: .oneOf("threads", "native", "io_uring", as: "MODE"), group: .opening,
        "how files are read and written: threads, native or io_uring")
    static let nativeAIO = OptionSyntax("native-aio", short: "k", group: .opening, "as --aio native")
    static let copyOnRead = OptionSyntax(
        "copy-on-read", short: "C", group: .opening, "keep in the image what is read from below it")
    static let misalign = OptionSyntax(
        "misalign", short: "m", group: .opening, "accepted; buffers are aligned as needed")
}
