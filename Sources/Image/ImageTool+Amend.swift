import Block
import Bytes
import Qcow2

extension ImageTool {
    /// `amend`: changes options of an image that is there, one whole step after the other. What is written to must be known, not
    /// guessed, as in `check`. `progress` is told of the share that is done, 0 to 1.
    public func amend(_ request: AmendRequest, progress: (Double) -> Void = { _ in }) async throws(ImageError) {
        let image = request.image
        try checkFormatIsSaid(
            image, "The format of '\(image.text)' is not guessed where it is written to",
            "say -f qcow2 if that is what it is")
        let file: ImageFile
        do { file = try await openFile(image, isWritable: true) } catch { throw .couldNotOpen(image.text, error) }
        var failure: ImageError?
        do throws(ImageError) { try await amend(file, request, progress) } catch { failure = error }
        await file.close()
        if let failure { throw failure }
    }

    /// The format that an image is in, as far as it says so.
    public func format(of image: ImageReference) async throws(ImageError) -> String {
        do throws(OpenError) {
            let file = try await openFile(image)
            let kind: ImageKind
            do throws(OpenError) { kind = try await file.readKind() } catch {
                await file.close()
                throw error
            }
            await file.close()
            return kind.name
        } catch { throw .couldNotOpen(image.text, error) }
    }

    private func amend(_ file: ImageFile, _ request: AmendRequest, _ progress: (Double) -> Void)
        async throws(ImageError)
    {
        let kind: ImageKind
        do { kind = try await file.readKind() } catch { throw .couldNotOpen(request.image.text, error) }
        guard kind == .qcow2 else {
            throw AmendRequest.refusal(of: kind.name)
        }
        let options = try request.qcow2Options()
        progress(0)
        var steps: [AmendStep] = []
        try await withImage(file, request.image) { (image, _) throws(ImageError) in
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
            try await withImage(file, request.image) { (image, data) throws(ImageError) in
                try await self.carryOut(step, on: image, file, data) {
                    progress((Double(number) + $0) * share)
                }
            }
            progress(Double(number + 1) * share)
        }
        if steps.isEmpty { progress(1) }
    }

    private func carryOut(
        _ step: AmendStep, on image: Qcow2Image, _ file: ImageFile, _ data: (any Storage)?, _ progress: (Double) -> Void
    ) async throws(ImageError) {
        if case .resize(let size) = step {
            let resize = try ResizeRequest(image: ImageReference(""), size: String(size), mayShrink: true)
            return try await self.resize(image, on: file, data, resize)
        }
        do { try await image.amend(step, progress: progress) } catch { throw ImageError(error.message) }
    }
}
