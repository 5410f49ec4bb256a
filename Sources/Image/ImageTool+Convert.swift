import Block
import Bytes
import Digests
import Qcow2

extension ImageTool {
    /// `convert`: copies a guest's disk into a new image, or into one that is there with `-n`. The source is never written to;
    /// a new target has its name only once it is whole. `warn` takes what is to be known of a work that goes on, `progress` the
    /// share that is done, 0 to 1.
    public func convert(
        _ request: ConvertRequest, warn: @escaping (String) -> Void = { _ in },
        progress: @escaping (Double) -> Void = { _ in }
    ) async throws(ImageError) {
        try request.check()
        // What cannot be made of any source needs none.
        let format = request.targetFormat ?? "raw"
        if !request.skipsCreation, CreateRequest.Kind(rawValue: format) == nil, RebaseRequest.formats.contains(format) {
            throw ImageError(CreateRequest.refusal(of: format))
        }
        progress(0)
        let sources = try await open(request)
        var failure: ImageError?
        do throws(ImageError) { try await convert(request, sources, warn, progress) } catch { failure = error }
        for source in sources { await source.chain.close() }
        if let failure { throw failure }
    }

    private typealias Opened = (chain: ImageChain, name: String)

    private func open(_ request: ConvertRequest) async throws(ImageError) -> [Opened] {
        var opened: [Opened] = []
        do throws(ImageError) {
            for name in request.sources {
                // A raw disk in a pipe has no chain.
                if name == "-", request.format != "qcow2" { continue }
                let chain =
                    name == "-"
                    ? try await ImageChain.stream(files.input, context)
                    : try await open(
                        source(
                            name, request.format, isOptions: request.areOptions, forceShare: request.forceShare,
                            request.sourceCache))
                opened.append((chain, name))
            }
            try await show(request, opened)
            return opened
        } catch {
            for source in opened { await source.chain.close() }
            throw error
        }
    }

    private func show(_ request: ConvertRequest, _ opened: [Opened]) async throws(ImageError) {
        guard let name = request.snapshot else { return }
        if case .either = name, opened.count > 1 {
            throw ImageError("No support for concatenating multiple snapshot")
        }
        try await opened.first?.chain.show(name)
    }

    private func convert(
        _ request: ConvertRequest, _ opened: [Opened], _ warn: @escaping (String) -> Void,
        _ progress: @escaping (Double) -> Void
    ) async throws(ImageError) {
        let salvage = DiskSource.Salvage(isOn: request.salvages, warn: { if !request.isQuiet { warn($0) } })
        let leavesBacking = request.backingFile != nil || request.options["backing_file"] != nil
        let isStream = request.sources == ["-"]
        let source: any CopySource =
            opened.isEmpty
            ? PipeSource(files.input)
            : try DiskSource(opened, leavesBacking: leavesBacking, isStream: isStream, salvage: salvage)
        if request.copiesBitmaps { try checkBitmaps(request, opened) }
        var digest: RunningHash?
        if request.digests {
            guard let hash = RunningHash(.sha256) else { throw ImageError("SHA-256 cannot be had on this host") }
            digest = hash
        }
        if request.target == "-" {
            try await convertToPipe(request, source, digest, progress)
        } else {
            try await convert(request, source, digest, opened, warn, progress)
        }
        // Where the disk goes to standard output, what is said about it does not.
        guard let digest else { return }
        guard let sum = digest.hexadecimal() else { throw ImageError("SHA-256 failed on this host") }
        let line = "sha256 \(sum)"
        if request.target == "-" { report(line) } else { output(line + "\n") }
    }

    private func convert(
        _ request: ConvertRequest, _ source: any CopySource, _ digest: RunningHash?, _ opened: [Opened],
        _ warn: (String) -> Void, _ progress: @escaping (Double) -> Void
    ) async throws(ImageError) {
        let target = try await openTarget(request, source.length)
        do throws(ImageError) {
            try await copy(request, source, to: target, digest, progress)
            if request.copiesBitmaps, let image = opened.first?.chain {
                try await copyBitmaps(request, of: image, to: target, warn)
            }
        } catch {
            await target.abandon()
            throw error
        }
        try await target.finish()
    }

    private func copy(
        _ request: ConvertRequest, _ source: any CopySource, to target: TargetImage, _ digest: RunningHash?,
        _ progress: @escaping (Double) -> Void
    ) async throws(ImageError) {
        let walker = target.walker
        let unit = request.isCompressed ? walker.limits.encodedUnit : 1
        if request.isCompressed, unit == 0 { throw ImageError("Compression not supported for this file format") }
        if let length = source.length, length > walker.length {
            throw ImageError("output file is smaller than input file")
        }
        let sink = DiskTarget(
            walker,
            detection: request.detection(unit: unit), isZeroed: request.targetIsZero || target.isZeroed,
            isCompressed: request.isCompressed,
            backingEnd: request.skipsCreation ? nil : target.backingLength, grows: source.length == nil)
        var options = GuestCopy.Options()
        options.workers = request.workers
        options.isOrdered = request.isOrdered
        options.unit = unit
        options.copiesZeros = request.sparseSize == 0
        options.rate = request.rate
        try await GuestCopy(context, from: source, to: sink, options, digest: digest, progress: progress)
            // Of a damaged disk all that is wrong with its map is told before the first byte is copied, and again as it is.
            .run(tellsProgress: request.showsProgress || request.salvages)
    }

    private func openTarget(_ request: ConvertRequest, _ length: UInt64?) async throws(ImageError) -> TargetImage {
        if request.skipsCreation {
            let format = request.targetIsOptions ? nil : request.targetFormat ?? "raw"
            let target = try source(
                request.target, format, isOptions: request.targetIsOptions, forceShare: false, request.cache)
            return try await TargetImage.open(target, self)
        }
        let size = length ?? 0
        let creation = try request.creation(size: size)
        do { _ = try place(ofNew: request.target) } catch { throw ImageError(error.text) }
        do throws(ImageError) { return try await TargetImage.make(creation, size: size, request.cache, self) } catch {
            // It was made, and then could not be opened.
            if error.message.hasPrefix("Could not open '\(request.target)'") { throw error }
            throw ImageError(
                "\(request.target): error while converting \(creation.kind.rawValue): "
                    + error.message.dropping(prefix: "\(request.target): "))
        }
    }
}

extension ConvertRequest {
    /// The options of the new target, checked in qemu-img's order.
    func creation(size: UInt64) throws(ImageError) -> CreateRequest {
        let format = targetFormat ?? "raw"
        guard CreateRequest.Kind(rawValue: format) != nil else { throw ImageError(CreateRequest.refusal(of: format)) }
        var options = self.options
        options.set("size", String(size))
        let request: CreateRequest
        do {
            request = try CreateRequest(
                path: target, format: format, options: options, backingFile: backingFile,
                backingFormat: backingFormat)
        } catch { throw ImageError(error.message.dropping(prefix: "\(target): ")) }
        if sources.count > 1, request.backingFile != nil {
            throw ImageError(
                "Having a backing file for the target makes no sense when concatenating multiple input images")
        }
        if request.backingFile != nil, request.backingFormat == nil {
            throw ImageError("Use of backing file requires explicit backing format")
        }
        guard isCompressed else { return request }
        if request.kind == .raw { throw ImageError("Compression not supported for this file format") }
        if let mode = request.options["preallocation"], mode != "off" {
            throw ImageError("Compression and preallocation not supported at the same time")
        }
        return request
    }
}

extension String {
    /// Without these first characters, where it begins with them.
    func dropping(prefix: String) -> String { hasPrefix(prefix) ? String(dropFirst(prefix.count)) : self }
}
