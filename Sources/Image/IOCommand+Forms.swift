extension IOCommand {
    /// How a command is called, and what it takes.
    struct Form: Sendable {
        let operation: Operation
        let name: String
        var alias = ""
        /// Letters, each followed by a colon where it takes a value.
        var letters = ""
        /// How many words may stand behind it, options counted.
        var least = 0
        var most = 0
        /// What the tool says it takes.
        var takes = ""
        /// What it does, in a few words.
        let summary: String
        var isAsynchronous = false
        var needsImage = true
        /// Whether only a program that opens images itself has it.
        var isOfProgram = false

        func miscounted(_ count: Int, _ called: String) -> String {
            let expected =
                most == .max ? "at least \(least)" : most == least ? "\(least)" : "between \(least) and \(most)"
            return "bad argument count \(count) to \(called), expected \(expected) arguments\n"
        }

        /// The line of the list of commands.
        func usage(as called: String? = nil) -> String {
            "\(called ?? name) " + (takes.isEmpty ? "" : takes + " ") + (operation == .map ? " " : "")
                + "-- \(summary)\n"
        }

        static func named(_ name: String) -> Form? { all.first { $0.name == name || $0.alias == name } }

        /// In the order in which the tool lists them.
        static let all = [
            Form(
                operation: .abort, name: "abort", summary: "simulate a program crash using abort(3)", needsImage: false),
            Form(operation: .settle, name: "aio_flush", summary: "completes all outstanding aio requests"),
            Form(
                operation: .read, name: "aio_read", letters: "CiP:qv", least: 2, most: .max,
                takes: "[-Ciqv] [-P pattern] off len [len..]", summary: "asynchronously reads a number of bytes",
                isAsynchronous: true),
            Form(
                operation: .write, name: "aio_write", letters: "CfiP:quz", least: 2, most: .max,
                takes: "[-Cfiquz] [-P pattern] off len [len..]", summary: "asynchronously writes a number of bytes",
                isAsynchronous: true),
            Form(
                operation: .alloc, name: "alloc", least: 1, most: 2, takes: "offset [count]",
                summary: "checks if offset is allocated in the file"),
            Form(
                operation: .setBreak, name: "break", least: 2, most: 2, takes: "event tag",
                summary: "sets a breakpoint on event and tags the stopped request as tag"),
            Form(
                operation: .close, name: "close", alias: "c", summary: "close the current open file", isOfProgram: true),
            Form(
                operation: .discard, name: "discard", alias: "d", letters: "Cq", least: 2, most: .max,
                takes: "[-Cq] off len", summary: "discards a number of bytes at a specified offset"),
            Form(
                operation: .flush, name: "flush", alias: "f", summary: "flush all in-core file state to disk"),
            Form(
                operation: .help, name: "help", alias: "?", most: 1, takes: "[command]",
                summary: "help for one or all commands", needsImage: false),
            Form(
                operation: .info, name: "info", alias: "i", summary: "prints information about the current file"),
            Form(operation: .length, name: "length", alias: "l", summary: "gets the length of the current file"),
            // The tool's line of it has two spaces, for arguments that it does not take.
            Form(operation: .map, name: "map", takes: "", summary: "prints the allocated areas of a file"),
            Form(
                operation: .open, name: "open", alias: "o", letters: "rsCnki:t:d:o:U", least: 1, most: .max,
                takes: "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
                summary: "open the file specified by path", needsImage: false, isOfProgram: true),
            Form(
                operation: .quit, name: "quit", alias: "q", most: .max, summary: "exit the program", needsImage: false,
                isOfProgram: true),
            Form(
                operation: .read, name: "read", alias: "r", letters: "bCl:pP:qs:v", least: 2, most: .max,
                takes: "[-abCqv] [-P pattern [-s off] [-l len]] off len",
                summary: "reads a number of bytes at a specified offset"),
            Form(
                operation: .read, name: "readv", alias: "rv", letters: "CP:qv", least: 2, most: .max,
                takes: "[-Cqv] [-P pattern] off len [len..]", summary: "reads a number of bytes at a specified offset"),
            Form(
                operation: .removeBreak, name: "remove_break", least: 1, most: 1, takes: "tag",
                summary: "remove a breakpoint by tag"),
            Form(
                operation: .reopen, name: "reopen", letters: "c:o:rw", most: .max,
                takes: "[(-r|-w)] [-c cache] [-o options]", summary: "reopens an image with new options"),
            Form(
                operation: .resumeBreak, name: "resume", least: 1, most: 1, takes: "tag",
                summary: "resumes the request tagged as tag"),
            Form(
                operation: .sigraise, name: "sigraise", least: 1, most: 1, takes: "signal", summary: "raises a signal",
                needsImage: false),
            Form(
                operation: .sleep, name: "sleep", least: 1, most: 1,
                summary: "waits for the given value in milliseconds", needsImage: false),
            Form(
                operation: .truncate, name: "truncate", alias: "t", letters: "m:", least: 1, most: 3,
                takes: "[-m prealloc_mode] off", summary: "truncates the current file at the given offset"),
            Form(
                operation: .waitBreak, name: "wait_break", least: 1, most: 1, takes: "tag",
                summary: "waits for the suspension of a request"),
            Form(
                operation: .write, name: "write", alias: "w", letters: "bcCfnpP:qs:uz", least: 2, most: .max,
                takes: "[-bcCfnquz] [-P pattern | -s source_file] off len",
                summary: "writes a number of bytes at a specified offset"),
            Form(
                operation: .write, name: "writev", alias: "wv", letters: "CfP:q", least: 2, most: .max,
                takes: "[-Cfq] [-P pattern] off len [len..]",
                summary: "writes a number of bytes at a specified offset"),
        ]
    }
}
