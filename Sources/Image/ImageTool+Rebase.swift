import Block
import Bytes
import Graph
import Qcow2

extension ImageTool {
    /// `rebase`: lets an image stand on another backing file, or on none.
    ///
    /// Unless told otherwise the disk reads as before: where the image holds nothing and the old backing file reads otherwise
    /// than the new one, what the old one says is copied into the image. Only when that is durable does the header name the
    /// new file, so that whenever it breaks off the disk is what it was. `progress` is told of the share that is done, 0 to 1.
    public func rebase(_ request: RebaseRequest, progress: (Double) -> Void = { _ in }) async throws(ImageError) {
        let image = request.image
        try checkFormatIsSaid(
            image, "The format of '\(image.text)' is not guessed where it is written to",
            "say -f qcow2 if that is what it is")
        progress(0)
        let chain = try await open(image) { depth in depth == 0 ? .write : request.isUnsafe ? .none : .read }
        warnOfGuess(image, chain)
        var failure: ImageError?
        do throws(ImageError) { try await rebase(chain, request, progress) } catch { failure = error }
        do throws(ImageError) { try await chain.finish() } catch { failure = failure ?? error }
        if let failure { throw failure }
    }

    private func rebase(_ chain: ImageChain, _ request: RebaseRequest, _ progress: (Double) -> Void)
        async throws(ImageError)
    {
        if let format = request.backingFormat, !RebaseRequest.formats.contains(format) {
            throw ImageError("Invalid format name: '\(format)'")
        }
        if !request.isUnsafe { try await compare(chain, request, progress) }
        try await name(chain, request)
        progress(1)
    }

    /// Makes the image independent of the difference between its backing file and the new one.
    private func compare(_ chain: ImageChain, _ request: RebaseRequest, _ progress: (Double) -> Void)
        async throws(ImageError)
    {
        guard let name = request.newName else { return try await copyUp(chain, over: nil, progress) }
        let new: ImageChain
        do throws(ImageError) { new = try await open(try newBacking(name, request, chain)) { _ in .read } } catch {
            // What stands before the reason names the file as it was found, and the user named it so.
            let reason = error.message.firstRange(of: ": ").map { String(error.message[$0.upperBound...]) }
            throw ImageError("Could not open new backing file '\(name)': \(reason ?? error.message)")
        }
        var failure: ImageError?
        do throws(ImageError) { try await copyUp(chain, over: new, progress) } catch { failure = error }
        await new.close()
        if let failure { throw failure }
    }

    /// The user named it, so it is opened wherever it lies.
    private func newBacking(_ name: String, _ request: RebaseRequest, _ chain: ImageChain) throws(ImageError)
        -> ImageReference
    {
        if var backing = request.backing {
            backing.format = backing.format ?? request.backingFormat
            return backing
        }
        var path = name
        if let word = PathText.protocolName(name) {
            guard word == "file" else { throw .couldNotOpen(name, OpenError("Unknown protocol '\(word)'")) }
            path.removeFirst("file:".count)
        }
        return ImageReference(
            PathText.combine(chain.layers[0].filename, path), format: request.backingFormat,
            forceShare: request.forceShare, cache: request.backingCache)
    }

    private func copyUp(_ chain: ImageChain, over new: ImageChain?, _ progress: (Double) -> Void)
        async throws(ImageError)
    {
        guard let image = chain.image else { return }
        // Also where there is none now: what is zeroed or let go must not show what will be below.
        image.hasBacking = true
        let walk = RebaseWalk(chain, over: new)
        do throws(RebaseWalk.Failure) { try await walk.run(progress) } catch {
            switch error {
            case .metadata(let why): throw ImageError("error while reading image metadata: \(why.sentence)")
            case .reading(let which): throw ImageError("error while reading from \(which) backing file")
            case .writing(let why): throw ImageError("Error while writing to COW image: \(why.sentence)")
            }
        }
    }

    private func name(_ chain: ImageChain, _ request: RebaseRequest) async throws(ImageError) {
        let said = "Could not change the backing file to '\(request.backingFile ?? "(null)")'"
        guard let image = chain.image else { throw ImageError("\(said): Operation not supported") }
        if request.newName != nil, request.backingFormat == nil {
            throw ImageError("\(said): backing format must be specified")
        }
        do throws(BlockError) {
            try await image.setBackingFile(
                request.newName, format: request.newName == nil ? nil : request.backingFormat)
        } catch {
            let why = error == .noSpace ? "No space left in the file header" : error.sentence
            throw ImageError("\(said): \(why)")
        }
    }

    /// Says that something is written to which nothing but its first bytes told to be raw.
    func warnOfGuess(_ image: ImageReference, _ chain: ImageChain) {
        if image.isFormatUnknown, chain.image == nil { report(Self.guessed(image.text)) }
    }
}
