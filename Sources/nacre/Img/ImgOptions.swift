import Block
import Commands
import Daemon
import Image

// What several commands of the image tool take.

extension OptionGroup {
    /// How an image is found and opened.
    static let opening = OptionGroup("Opening")
}

extension ValueSyntax {
    static let format = ValueSyntax.oneOf("qcow2", "raw", as: "FMT")
    static let cache = ValueSyntax.oneOf("none", "writeback", "writethrough", "directsync", "unsafe", as: "MODE")
    static let image = ValueSyntax.file("FILE")
}

extension OptionSyntax {
    static let quiet = OptionSyntax("quiet", short: "q", "say nothing but errors")
    static let progress = OptionSyntax("progress", short: "p", "show how far it is")
    static let output = OptionSyntax(
        "output", value: .oneOf("human", "json"), "for whom the report is; human if not given")
    static let formatOptions = OptionSyntax(
        "options", short: "o", value: "KEY=VALUE,…", "options of the format; -o help lists them")

    static let format = OptionSyntax(
        "format", short: "f", value: .format, group: .opening,
        "the image's format; if not given, its first bytes tell it")
    static let imageOpts = OptionSyntax(
        "image-opts", group: .opening, "FILE is options of the image's node: driver=qcow2,file.filename=disk.qcow2")
    static let object = OptionSyntax(
        "object", value: "TYPE,id=ID,…", group: .opening, "make an object that the image's options name")
    static let forceShare = OptionSyntax(
        "force-share", short: "U", group: .opening, "also while another program has the image open for writing")
    static let cache = OptionSyntax(
        "cache", short: "t", value: .cache, group: .opening,
        "none, writeback, writethrough, directsync or unsafe; writeback if not given")
    /// The same, by the letter that it has where images are only read.
    static let sourceCache = OptionSyntax(
        "cache", short: "T", value: .cache, group: .opening,
        "none, writeback, writethrough, directsync or unsafe; writeback if not given")
}

extension CommandWords {
    /// The one image that the command takes.
    func image(
        orElse message: String = "Expecting one image file name", cache: CacheMode = .writeback
    ) throws(UsageMistake) -> ImageReference {
        guard operands.count == 1 else { throw UsageMistake(message) }
        return try image(operands[0], cache: cache)
    }

    /// Refuses a format beside options, which name the image's driver.
    func refuse(
        _ format: OptionSyntax = .format, beside imageOpts: OptionSyntax = .imageOpts, exitCode: Int32 = 1
    ) throws(UsageMistake) {
        guard has(imageOpts), has(format) else { return }
        throw UsageMistake("--image-opts and --format are mutually exclusive", sendsToHelp: false, exitCode: exitCode)
    }

    /// The image that a word names, to be opened as the options say.
    func image(_ word: String, format: OptionSyntax = .format, cache: CacheMode = .writeback)
        throws(UsageMistake) -> ImageReference
    {
        try refuse(format)
        do throws(OpenError) {
            return try ImageReference(
                reading: word, isOptions: has(.imageOpts), format: self[format], forceShare: has(.forceShare),
                cache: cache)
        } catch { throw UsageMistake("Could not open '\(word)': \(error.text)", sendsToHelp: false) }
    }

    /// The cache mode that an option gives, or `standard`. Messages tell that of a source by the letter.
    func cacheMode(_ option: OptionSyntax, orElse standard: CacheMode = .writeback) throws(UsageMistake) -> CacheMode {
        guard let name = self[option] else { return standard }
        guard let mode = CacheMode(word: name) else {
            let what = option.short == "T" ? "source cache" : "cache"
            throw UsageMistake("Invalid \(what) option: \(name)", sendsToHelp: false)
        }
        return mode
    }

    func form() throws(UsageMistake) -> ImageTool.Form {
        guard let word = self[.output] else { return .human }
        guard let form = ImageTool.Form(rawValue: word) else {
            throw UsageMistake("--output must be used with human or json as argument.", sendsToHelp: false)
        }
        return form
    }

    /// What `-o` says in all, or that it asks which options there are.
    enum FormatOptions {
        case list(OptionList)
        case question
    }

    func formatOptions(_ option: OptionSyntax = .formatOptions) throws(UsageMistake) -> FormatOptions {
        var list = OptionList()
        for text in all(option) {
            guard !text.isEmpty, !text.hasPrefix(","), !text.hasSuffix(",") else {
                throw UsageMistake("Invalid option list: \(text)", sendsToHelp: false)
            }
            list.append(OptionList(text))
        }
        return list["help"] == "on" || list["?"] == "on" ? .question : .list(list)
    }

    /// An offset or a length, in bytes. `what` is its name in messages.
    func size(_ option: OptionSyntax, _ what: String) throws(UsageMistake) -> UInt64? {
        guard let text = self[option] else { return nil }
        do { return try SizeText.parse(text) } catch .malformed {
            throw UsageMistake(
                """
                Invalid \(what) specified. You may use k, M, G, T, P or E suffixes for
                kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.
                """, sendsToHelp: false)
        } catch {
            throw UsageMistake(
                "Invalid \(what) specified. Must be between 0 and \(Int64.max).", sendsToHelp: false)
        }
    }
}
