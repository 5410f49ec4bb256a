import Block
import Graph
import Image

// What a command line means by an image.
extension ImageOpener {
    /// The node that is meant, the words that say so, and whether it is raw by a guess.
    func resolve(_ opening: IOOpening) async throws(OpenError)
        -> (options: NodeOptions, words: OptionList?, isGuessed: Bool)
    {
        var list = opening.options
        if let name = opening.filename {
            if Self.saysAll(name) {
                guard list.pairs.isEmpty else { throw OpenError("No options can be given beside '\(name)'") }
                let image = try ImageReference(reading: name, isOptions: false, format: opening.format)
                let (options, isGuessed) = try await node(image)
                return (options.with(opening), nil, isGuessed)
            }
            guard !list.pairs.contains(where: { $0.key == "file" || $0.key == "file.filename" }) else {
                throw OpenError("Can't specify 'file' and 'filename' options at the same time")
            }
            list = try named(name, driver: list["driver"] ?? opening.format).appending(list)
        }
        var isGuessed = false
        if list["driver"] == nil {
            var driver = opening.format
            if driver == nil {
                driver = try await probe(list)
                isGuessed = driver == "raw"
            }
            list.set("driver", driver ?? "raw")
        }
        return (try read(list).with(opening), list, isGuessed)
    }

    /// Whether a name is more than the name of a file: options, or a remote export.
    private static func saysAll(_ name: String) -> Bool {
        ["json:", "nbd:", "nbd+tcp:", "nbd+unix:"].contains { name.hasPrefix($0) }
    }

    /// A file's name as options of a node of this driver; nil: of one that is not known yet.
    private func named(_ name: String, driver: String?) throws(OpenError) -> OptionList {
        var list = OptionList()
        let place = driver.map { Self.protocols.contains($0) } == true ? "" : "file."
        try spell(name, &list, place)
        return list
    }

    private static let protocols: Set<String> = ["file", "host_device", "null-co", "null-aio"]

    /// Spells out a name: `file:PATH`, `blkdebug:RULES:NAME`, `null-co://`, or a plain path.
    private func spell(_ name: String, _ list: inout OptionList, _ place: String) throws(OpenError) {
        switch PathText.protocolName(name) {
        case nil: list.set(place + "filename", name)
        case "file": list.set(place + "filename", String(name.dropFirst("file:".count)))
        case "null-co": list.set(place + "driver", "null-co")
        case "null-aio": list.set(place + "driver", "null-aio")
        case "blkdebug":
            let rest = name.dropFirst("blkdebug:".count)
            guard let colon = rest.firstIndex(of: ":") else {
                throw OpenError("blkdebug requires both config file path and image path")
            }
            list.set(place + "driver", "blkdebug")
            if colon > rest.startIndex { list.set(place + "config", String(rest[..<colon])) }
            try spell(String(rest[rest.index(after: colon)...]), &list, place + "image.")
        case let other?: throw OpenError("Unknown protocol '\(other)'")
        }
    }

    /// Reads options as a node.
    func read(_ list: OptionList) throws(OpenError) -> NodeOptions {
        do throws(OpenError) {
            let image = try ImageReference(reading: list.inBytes.text, isOptions: true)
            if case .node(let options) = image.place { return options }
            throw OpenError("Must specify either driver or file")
        } catch {
            // In the words that QEMU has for an option that nobody took.
            guard let name = error.unexpected, let driver = list["driver"] else { throw error }
            throw OpenError("Block format '\(driver)' does not support the option '\(name)'")
        }
    }

    /// The node of an image whose bytes may have to tell what it is.
    private func node(_ image: ImageReference) async throws(OpenError) -> (options: NodeOptions, isGuessed: Bool) {
        let storage: NodeOptions
        switch image.place {
        case .node(let options): return (options, false)
        case .storage(let options): storage = options
        case .file(let path):
            let own = FileDriverOptions(filename: path)
            storage = NodeOptions(host.isDevice(path) ? .hostDevice(own) : .file(own))
        }
        if image.format == storage.driver.name { return (storage, false) }
        var format = image.format
        if format == nil { format = try await probe(storage) }
        switch format {
        case "qcow2": return (NodeOptions(.qcow2(Qcow2Options(file: .options(storage)))), false)
        case "raw": return (NodeOptions(.raw(RawOptions(file: .options(storage)))), image.format == nil)
        default: throw OpenError("Unknown driver '\(format ?? "")'")
        }
    }

    // MARK: Guessing

    private func probe(_ list: OptionList) async throws(OpenError) -> String {
        var storage = OptionList()
        for pair in list.pairs where pair.key.hasPrefix("file.") { storage.set(pair.key, pair.value) }
        guard !storage.pairs.isEmpty else { throw OpenError("Must specify either driver or file") }
        guard case .storage(let options) = try ImageReference(reading: storage.text, isOptions: true).place else {
            throw OpenError("Must specify either driver or file")
        }
        return try await probe(options)
    }

    /// Tells a format by the first bytes of what holds it.
    private func probe(_ storage: NodeOptions) async throws(OpenError) -> String {
        var options = storage
        options.common.isReadOnly = true
        options.common.forceShare = true
        var format = "raw"
        try await graph.use(.options(options), "probe", used: .consistentRead, shared: .all) {
            (root) async throws(OpenError) in format = try await FormatProbe.format(of: root)
        }
        return format
    }

    /// What may be written to is taken for raw only as QEMU's program, which says so, and keeps it from being anything else.
    func allowGuess(_ opening: IOOpening) throws(OpenError) {
        let name = opening.filename ?? opening.options["file.filename"] ?? ""
        guard asQEMU else {
            throw OpenError("its format is not told by its content, and something writable is not guessed: say -f raw")
        }
        warn(
            """
            WARNING: Image format was not specified for '\(name)' and probing guessed raw.
                     Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
                     Specify the 'raw' format explicitly to remove the restrictions.
            """)
    }
}

extension OptionList {
    func appending(_ other: OptionList) -> OptionList {
        var result = self
        result.append(other)
        return result
    }

    /// With the sizes of windows and of nothing in bytes, which may have a unit here.
    fileprivate var inBytes: OptionList {
        var result = OptionList()
        for pair in pairs {
            let name = pair.key.split(separator: ".").last
            let bytes = name == "offset" || name == "size" ? try? SizeText.parse(pair.value) : nil
            result.set(pair.key, bytes.map(String.init) ?? pair.value)
        }
        return result
    }

    /// As it is written, each name once: the last of equal ones counts.
    var text: String {
        var names: Set<String> = []
        let last = pairs.reversed().filter { names.insert($0.key).inserted }.reversed()
        return last.map { "\($0.key)=\($0.value.replacing(",", with: ",,"))" }.joined(separator: ",")
    }
}

extension OpenError {
    /// The option that nobody knows, where that is what is wrong.
    var unexpected: String? {
        let (start, end) = ("Parameter '", "' is unexpected")
        guard message.hasPrefix(start), message.hasSuffix(end) else { return nil }
        return String(message.dropFirst(start.count).dropLast(end.count))
    }
}
