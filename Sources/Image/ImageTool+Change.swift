import Block
import Qcow2

extension ImageTool {
    /// Opens a qcow2 image in `file`, a walker of `named` perhaps, with the file for its data where it names one, and closes
    /// both after `body`.
    func withImage(
        _ file: any Storage, of named: ImageFile, _ path: String, _ options: Options = Options(),
        _ body: (Qcow2Image, _ data: BlockIO?) async throws(ImageError) -> Void
    ) async throws(ImageError) {
        var (data, below) = (nil as ImageFile?, nil as BlockIO?)
        var failure: ImageError?
        do throws(ImageError) {
            let image: Qcow2Image
            do {
                image = try await Qcow2Image.open(file: file, options: options) { (header) async throws(OpenError) in
                    data = try await source.openData(
                        header, of: path, beside: named, isWritable: !options.isReadOnly)?.file
                    below = data.map { BlockIO(context: context, driver: .storage($0.storage)) }
                    return below
                }
            } catch { throw .couldNotOpen(path, error) }
            do throws(ImageError) { try await body(image, below) } catch { failure = error }
            do { try await image.close() } catch {
                failure = failure ?? ImageError("Could not close '\(path)': \(error.sentence)")
            }
        } catch { failure = failure ?? error }
        below?.retire()
        await data?.close()
        if let failure { throw failure }
    }

    /// What is written to must be known, not guessed: a guest writes what it likes at the start of a raw disk (R20, R25). As
    /// QEMU's program it is guessed all the same.
    func refuseGuess(_ path: String, _ format: String?) throws(ImageError) {
        guard format == nil, rule == .ownFolder else { return }
        throw ImageError(
            "The format of '\(path)' is not guessed where it is written to, since a guest may have written what it "
                + "looks like: say -f qcow2 if that is what it is")
    }

    func warnOfGuess(_ format: String?, _ chain: ImageChain) {
        if format == nil, chain.layers[0].image == nil { report(Self.guessed(chain.layers[0].path)) }
    }
}
