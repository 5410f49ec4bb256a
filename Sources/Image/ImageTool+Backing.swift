import Block
import Graph

extension ImageTool {
    /// The files below an image that the rule lets it open, from the top: their paths and formats. Ends where one
    /// cannot be had; whoever opens the chain says why.
    public func backingFiles(of path: String, format: String?) async -> [(path: String, format: String)] {
        var found: [(path: String, format: String)] = []
        var identities: Set<HostFileIdentity> = []
        var next: (image: ImageReference, folder: String?)? = (
            ImageReference(path, format: format, forceShare: true), nil
        )
        while let here = next, found.count < ImageChain.limit {
            next = nil
            do throws(OpenError) {
                let file = try await openFile(here.image, below: here.folder)
                if let identity = file.identity, !identities.insert(identity).inserted {
                    await file.close()
                    break
                }
                let info = try await read(file)
                if here.image.text != path { found.append((here.image.text, info.format)) }
                next = try backing(of: info, forceShare: true)
            } catch { break }
        }
        return found
    }
}
