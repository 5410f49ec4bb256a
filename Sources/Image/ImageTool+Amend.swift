import Block
import Bytes
import Qcow2

extension ImageTool {
    /// `amend`: changes options of an image that is there, one whole step after the other. What is written to must be known, not
    /// guessed, as in `check`. `progress` is told of the share that is done, 0 to 1.
    public func amend(_ request: AmendRequest, progress: (Double) -> Void = { _ in }) async throws(ImageError) {
        let path = request.path
        if request.format == nil, rule == .ownFolder {
            throw ImageError(
                "The format of '\(path)' is not guessed where it is written to, since a guest may have written what it "
                    + "looks like: say -f qcow2 if that is what it is")
        }
        let file: ImageFile
        do { file = try await files.open(path, FileUse(isWritable: true)) } catch { throw .couldNotOpen(path, error) }
        var failure: ImageError?
        do throws(ImageError) { try await amend(file, request, progress) } catch { failure = error }
        await file.close()
        if let failure { throw failure }
    }

    private func amend(_ file: ImageFile, _ request: AmendRequest, _ progress: (Double) -> Void)
        async throws(ImageError)
    {
        var format = request.format
        if format == nil {
            do { format = try await FormatProbe.format(of: file.storage) } catch {
                throw .couldNotOpen(request.path, error)
            }
        }
        switch format ?? "" {
        case "qcow2": break
        case "raw": throw ImageError("Format driver 'raw' does not support option amendment")
        case let other: throw ImageError("Could not open '\(request.path)': Unknown driver '\(other)'")
        }
        let options = try request.qcow2Options()
        let below = BlockIO(context: context, driver: .storage(file.storage))
        defer { below.retire() }
        progress(0)
        var steps: [AmendStep] = []
        try await withImage(below, of: file, request.path) { (image, _) throws(ImageError) in
            do throws(OpenError) { steps = try options.steps(for: image.header, image.snapshots) } catch {
                throw ImageError(error.message)
            }
            for case .resize(let size) in steps {
                if let refusal = image.resizeRefusal(size) { throw ImageError(refusal.message) }
            }
        }
        for (number, step) in steps.enumerated() {
            let share = 1 / Double(steps.count)
            // A step may change what an open image has for constant, so each has an image of its own.
            try await withImage(below, of: file, request.path) { (image, data) throws(ImageError) in
                try await self.carryOut(step, on: image, below, data, request) {
                    progress((Double(number) + $0) * share)
                }
            }
            progress(Double(number + 1) * share)
        }
        if steps.isEmpty { progress(1) }
    }

    private func carryOut(
        _ step: AmendStep, on image: Qcow2Image, _ file: any Storage, _ data: BlockIO?, _ request: AmendRequest,
        _ progress: (Double) -> Void
    ) async throws(ImageError) {
        if case .resize(let size) = step {
            let resize = try ResizeRequest(
                path: request.path, format: "qcow2", size: String(size), mayShrink: true)
            return try await self.resize(image, on: file, data, resize)
        }
        do { try await image.amend(step, progress: progress) } catch { throw ImageError(error.message) }
    }
}
