import Block
import Qcow2

extension ImageChain.Source {
    /// Opens the file that an image names for its data, where its name may be followed; nil where it names none.
    func openData(_ header: Header, of path: String, beside file: ImageFile, isWritable: Bool = false)
        async throws(OpenError) -> (file: ImageFile, path: String)?
    {
        guard let name = header.dataFile, !name.isEmpty else { return nil }
        let target = try BackingName.resolveData(name, of: path, rule)
        announce("the data file \(target.path)")
        let data = try await files.open(
            target.path, FileUse(isWritable: isWritable, forceShare: forceShare, below: target.folder))
        guard data.identity != file.identity else {
            await data.close()
            throw OpenError("'\(path)' names itself as its data file")
        }
        return (data, target.path)
    }
}
