import Block
import Graph
import Image
import JSON
import QMPTypes

// What a command line means by an image.
extension ImageOpener {
    /// The node that is meant, the words that say so, and whether it is raw by a guess.
    func resolve(_ opening: IOOpening) async throws(OpenError)
        -> (options: NodeOptions, words: ImageWords, isGuessed: Bool)
    {
        var words: ImageWords
        do throws(QMPError) {
            words = try ImageWords(opening.filename, opening.options, driver: opening.format)
        } catch { throw OpenError(error.message) }
        var isGuessed = false
        if words.driver == nil {
            let storage: NodeOptions
            do throws(QMPError) { storage = try words.storage() } catch { throw OpenError(error.message) }
            let driver = try await probe(storage)
            isGuessed = driver == "raw"
            words.driver = driver
        }
        return (try read(words).with(opening), words, isGuessed)
    }

    /// Reads words as a node.
    func read(_ words: ImageWords) throws(OpenError) -> NodeOptions {
        do throws(QMPError) { return try words.node() } catch {
            // In the words that QEMU has for an option that nobody took.
            guard let name = error.unexpected, let driver = words.driver(of: name) else {
                throw OpenError(error.message)
            }
            let option = name.split(separator: ".").last ?? ""
            throw OpenError(
                ImageWords.protocols.contains(driver)
                    ? "Block protocol '\(driver)' doesn't support the option '\(option)'"
                    : "Block format '\(driver)' does not support the option '\(option)'")
        }
    }

    // MARK: Guessing

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

extension ImageWords {
    /// The driver of the node that an option belongs to, by the option's whole name: `file.image.foo`.
    fileprivate func driver(of option: String) -> String? {
        var (node, path) = (options, option.split(separator: ".").dropLast())
        while let part = path.popFirst() {
            guard let below = node[String(part)]?.object else { return nil }
            node = below
        }
        return node["driver"]?.string ?? (node["filename"] == nil ? nil : "file")
    }
}

extension QMPError {
    /// The option that nobody knows, where that is what is wrong.
    fileprivate var unexpected: String? {
        let (start, end) = ("Parameter '", "' is unexpected")
        guard message.hasPrefix(start), message.hasSuffix(end) else { return nil }
        return String(message.dropFirst(start.count).dropLast(end.count))
    }
}
