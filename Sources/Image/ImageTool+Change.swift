import Block
import Graph
import Qcow2

extension ImageTool {
    /// Opens a qcow2 image in `file`, with the file for its data where it names one, and closes both after `body`.
    func withImage(
        _ file: ImageFile, _ image: ImageReference, _ options: Options = Options(),
        _ body: (Qcow2Image, _ data: BlockRoot?) async throws(ImageError) -> Void
    ) async throws(ImageError) {
        var data: ImageFile?
        var failure: ImageError?
        do throws(ImageError) {
            let open: Qcow2Image
            do {
                open = try await Qcow2Image.open(file: file.storage, options: options) {
                    (header) async throws(OpenError) in
                    data = try await openData(header, of: image, beside: file, isWritable: !options.isReadOnly)
                    return data?.storage
                }
            } catch { throw .couldNotOpen(image.text, error) }
            do throws(ImageError) { try await body(open, data?.storage) } catch { failure = error }
            do { try await open.close() } catch {
                failure = failure ?? ImageError("Could not close '\(image.text)': \(error.sentence)")
            }
        } catch { failure = failure ?? error }
        await data?.close()
        if let failure { throw failure }
    }

    /// Opens the file that an image names for its data, where its name may be followed; nil where it names none.
    func openData(_ header: Header, of image: ImageReference, beside file: ImageFile, isWritable: Bool)
        async throws(OpenError) -> ImageFile?
    {
        guard let name = header.dataFile, !name.isEmpty else { return nil }
        let target = try BackingName.resolveData(name, of: file.path ?? "", rule)
        announce("the data file \(target.path)")
        let reference = ImageReference(
            target.path, format: "raw", forceShare: image.forceShare, cache: image.cache)
        let data = try await openFile(reference, isWritable: isWritable, below: target.folder)
        guard data.identity != file.identity else {
            await data.close()
            throw OpenError("'\(image.text)' names itself as its data file")
        }
        return data
    }
}
