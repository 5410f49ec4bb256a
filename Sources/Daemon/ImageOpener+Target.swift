package import Block
import Graph
package import Image
import QMPTypes

// Images as the commands of qemu-io use them.
extension ImageOpener {
    /// Opens an image for commands, which may write to it unless it is opened to be read.
    package func target(_ opening: IOOpening) async throws(OpenError) -> NodeTarget {
        let image = try await open(opening)
        let target = NodeTarget(graph, image.node, user: "qemu-io")
        target.isGuessedRaw = image.isGuessedRaw
        do throws(OpenError) {
            try await target.attach(image.opening.permissions, writesThrough: opening.cache.writesThrough)
        } catch {
            await close(image)
            throw error
        }
        target.onClose = { [self] in await close(image) }
        target.onReopen = { [self, unowned target] (reopening) async throws(OpenError) in
            try await reopen(image, target, reopening)
        }
        return target
    }

    private func reopen(_ image: Opened, _ target: NodeTarget, _ reopening: IOReopening) async throws(OpenError) {
        var opening = image.opening
        if let isReadOnly = reopening.isReadOnly { opening.isReadOnly = isReadOnly }
        if let cache = reopening.cache { opening.cache = cache }
        let options = try options(of: image, opening, reopening.options)
        // Where it is said whether the image is written to, its user asks for it anew.
        guard reopening.isReadOnly != nil else {
            try await graph.reopen([options])
            image.opening = opening
            target.writesThrough = opening.cache.writesThrough
            return
        }
        await target.detach()
        var failure: OpenError?
        do throws(OpenError) {
            try await graph.reopen([options])
            image.opening = opening
        } catch { failure = error }
        do throws(OpenError) {
            try await target.attach(image.opening.permissions, writesThrough: image.opening.cache.writesThrough)
        } catch { failure = failure ?? error }
        if let failure { throw failure }
    }

    /// What the image's node shall be: as it was, but for what is said.
    private func options(of image: Opened, _ opening: IOOpening, _ changes: OptionList) throws(OpenError) -> NodeOptions
    {
        guard let words = image.words, !opening.copiesOnRead else {
            throw OpenError("The image was not opened in words, and cannot be opened in another way")
        }
        var changed: ImageWords
        do throws(QMPError) {
            var said = try ImageWords(nil, changes)
            try said.takeFixed(of: image.node) { graph.node($0) }
            changed = words.changed(by: said)
        } catch { throw OpenError(error.message) }
        var options: NodeOptions
        do throws(OpenError) { options = try read(changed).with(opening) } catch {
            guard let name = changes.pairs.first(where: { error.message.hasSuffix("the option '\($0.key)'") })?.key
            else {
                throw error
            }
            throw OpenError("Cannot change the option '\(name)'")
        }
        options.nodeName = image.node
        // What lies below stays, which a reopen has to say.
        if case .qcow2(var own) = options.driver, own.backing?.isOwn ?? true {
            own.backing =
                graph.node(image.node)?.backingNode.map { .child(.node($0)) }
                ?? BackingReference.none
            options.driver = .qcow2(own)
        }
        return options
    }
}

extension IOOpening {
    /// What its user does with it.
    fileprivate var permissions: Permissions {
        isReadOnly && !isSnapshot ? .consistentRead : [.consistentRead, .write]
    }
}

extension BackingReference {
    /// Whether it is what the image itself says.
    fileprivate var isOwn: Bool { if case .own = self { true } else { false } }
}
