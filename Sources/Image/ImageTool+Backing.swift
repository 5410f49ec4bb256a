import Block

extension ImageTool {
    /// The files below an image that the rule lets it open, from the top: their paths and formats. Ends where one
    /// cannot be had; whoever opens the chain says why.
    public func backingFiles(of path: String, format: String?) async -> [(path: String, format: String)] {
        var found: [(path: String, format: String)] = []
        var identities: Set<String> = []
        var next: (path: String, format: String?, folder: String?)? = (path, format, nil)
        while let here = next, found.count < ImageChain.limit {
            next = nil
            do throws(OpenError) {
                let file = try await files.open(here.path, FileUse(forceShare: true, below: here.folder))
                guard identities.insert(file.identity).inserted else {
                    await file.close()
                    break
                }
                let info = try await read(file, here.path, here.format)
                if here.path != path { found.append((here.path, info.format)) }
                next = try backing(of: info)
            } catch { break }
        }
        return found
    }
}
