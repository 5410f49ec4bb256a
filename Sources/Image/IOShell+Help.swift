// `help`: the list of commands line for line as the tool has it, what stands below each in our own words.
extension IOShell {
    /// The names of all commands, as the tool lists them.
    public static var commandNames: [String] { IOCommand.Form.all.map(\.name) }

    func help(_ name: String?) -> Bool {
        guard let name else {
            around.say(
                IOCommand.Form.all.filter { isKnown($0) }.map { $0.usage() }.joined()
                    + "\nUse 'help commandname' for extended help.\n")
            return true
        }
        guard let form = IOCommand.Form.named(name), isKnown(form) else {
            around.say("command \(name) not found\n")
            return false
        }
        around.say(form.usage(as: name) + (form.details.isEmpty ? "" : "\n\(form.details)\n"))
        return true
    }
}

extension IOCommand.Form {
    /// What is told below the line of the list: what the command does, an example, and its letters.
    fileprivate var details: String {
        let text =
            switch name {
            case "read", "readv", "aio_read": Self.reading(isLater: isAsynchronous, isVector: name != "read")
            case "write", "writev", "aio_write": Self.writing(isLater: isAsynchronous, isVector: name != "write")
            default: Self.others[name] ?? ""
            }
        let known = letters.filter { $0 != ":" }.compactMap { letter in
            Self.meaning(of: letter, name).map { " -\(letter), -- \($0)\n" }
        }
        return text + known.joined()
    }

    private static func reading(isLater: Bool, isVector: Bool) -> String {
        """
         Reads bytes of the disk\(isVector ? ", into a buffer for each length" : ""). The time and the rate are told.

         Example:
         '\(isLater ? "aio_read" : isVector ? "readv" : "read") -v 512 1k' shows the two sectors behind the first

        """ + (isLater ? later : "")
    }

    private static func writing(isLater: Bool, isVector: Bool) -> String {
        """
         Writes bytes to the disk\(isVector ? ", from a buffer for each length" : ""): 0xcd unless another is said.

         Example:
         '\(isLater ? "aio_write" : isVector ? "writev" : "write") -P 0x5a 512 1k' fills the two sectors behind the first

        """ + (isLater ? later : "")
    }

    private static let later = """
         The next command is not held up: aio_flush waits until the request has
         ended, which tells then what came of it. Only a request that cannot be
         begun counts as failed.

        """

    private static let others = [
        "discard": """
         Says that bytes of the disk are not needed any more.

         Example:
         'discard 64k 64k' gives the second cluster of most images back

        """,
        "open": """
         Opens an image, which the other commands work on.

         Example:
         'open -r -o driver=qcow2 disk.qcow2' opens it to be read

        """,
        "reopen": """
         Opens the image in another way, without closing it.

         Example:
         'reopen -r' writes to it no longer

        """,
        "truncate": """
         Gives the disk another length.

         Example:
         'truncate -m full 1G' also gives what is new its room on the host

        """,
        "sigraise": """
         Raises a signal in this process, by its number.

         Example:
         'sigraise 9' ends it as if it had crashed

        """,
    ]

    private static func meaning(of letter: Character, _ name: String) -> String? {
        let isOpening = name == "open" || name == "reopen"
        switch (letter, isOpening) {
        case ("b", _): return "in the saved state of a machine, not on the disk"
        case ("c", false): return "keep it compressed"
        case ("c", true), ("t", _): return "none, writeback, writethrough, directsync or unsafe"
        case ("C", false): return "figures that a program reads: bytes,requests,time,rate,requests a second"
        case ("C", true): return "keep what is read from below"
        case ("d", _): return "what becomes of discards: ignore or unmap"
        case ("f", _): return "durable when it has ended"
        case ("i", false): return "counted as a request that is none"
        case ("i", true): return "how files are read and written: threads, native or io_uring"
        case ("k", _): return "as -i native"
        case ("l", _): return "how many bytes the pattern has, with -P"
        case ("m", _): return "what room the new end has: off, metadata, falloc or full"
        case ("n", false): return "with -z, only if that is fast"
        case ("n", true): return "past the host's cache, as -t none"
        case ("o", _): return "options of the image's driver, KEY=VALUE,…"
        case ("P", _): return name.contains("read") ? "look for this byte" : "write this byte"
        case ("q", _): return "say nothing but errors"
        case ("r", _): return "to be read only"
        case ("s", true): return "on a new image above it, which is thrown away"
        case ("s", false): return name == "write" ? "write what this file holds" : "where the pattern begins, with -P"
        case ("u", _): return "with -z, the room may be given back"
        case ("U", _): return "also while another program writes to it"
        case ("v", _): return "show the bytes"
        case ("w", _): return "to be written, too"
        case ("z", _): return "write zeros, the fastest way there is"
        default: return nil
        }
    }
}
