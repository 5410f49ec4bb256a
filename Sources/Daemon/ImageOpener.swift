package import Block
package import Graph
package import Image

/// Opens images for the programs that work on one image, as their command lines name it: by a file name and options of its
/// driver. None of this is ever asked what stands inside an image.
package final class ImageOpener {
    let graph: Graph
    let host: any DaemonHost
    /// On whose thread files are made.
    let context: any IOContext
    /// Whether QEMU's rules hold where ours differ on purpose.
    let asQEMU: Bool
    /// Takes lines for standard error.
    let warn: (String) -> Void

    package init(
        _ graph: Graph, _ host: any DaemonHost, on context: any IOContext, asQEMU: Bool,
        warn: @escaping (String) -> Void
    ) {
        self.graph = graph
        self.host = host
        self.context = context
        self.asQEMU = asQEMU
        self.warn = warn
    }

    /// An image that was opened: its nodes are this object's to close.
    package final class Opened {
        package let node: String
        /// Whether nobody said that it is raw.
        package let isGuessedRaw: Bool
        /// Nodes below that are closed with it.
        let others: [String]
        /// What it was opened as; nil: not in words that more can be added to.
        let words: ImageWords?
        var opening: IOOpening

        init(
            _ node: String, isGuessedRaw: Bool, others: [String] = [], words: ImageWords?, opening: IOOpening
        ) {
            self.node = node
            self.isGuessedRaw = isGuessedRaw
            self.others = others
            self.words = words
            self.opening = opening
        }
    }

    /// Opens an image. On failure nothing remains.
    package func open(_ opening: IOOpening) async throws(OpenError) -> Opened {
        let (options, words, isGuessed) = try await resolve(opening)
        if isGuessed, !opening.isReadOnly, !opening.isSnapshot { try allowGuess(opening) }
        if opening.isSnapshot { return try await openOverlay(on: options, opening) }
        if opening.copiesOnRead, opening.isReadOnly {
            throw OpenError("Can't use copy-on-read on read-only device")
        }
        let whole =
            opening.copiesOnRead ? NodeOptions(.copyOnRead(CopyOnReadOptions(file: .options(options)))) : options
        return Opened(try await graph.open(whole), isGuessedRaw: isGuessed, words: words, opening: opening)
    }

    /// Closes the nodes of an image that nobody uses any more.
    package func close(_ image: Opened) async {
        for node in [image.node] + image.others {
            do throws(OpenError) { try await graph.delete(node) } catch { warn(error.text) }
        }
    }
}
