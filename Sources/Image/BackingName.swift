import Block
import Graph

/// The one place where a name in an image, a backing file's or a data file's, becomes a path that may be opened.
enum BackingName {
    /// What the image at `path` means by `name`: where it is, its format, and the folder that it must not leave.
    static func resolve(_ name: String, format: String?, of path: String, _ rule: BackingRule) throws(OpenError)
        -> (path: String, format: String?, folder: String?)
    {
        // A name in an image is data: it is never read as a protocol or as JSON, whatever it looks like.
        guard PathText.protocolName(name) == nil else { throw OpenError("'\(name)' is not a plain file name") }
        let target = PathText.combine(path, name)
        switch rule {
        case .any: return (target, format, nil)
        case .ownFolder:
            guard let format else {
                throw OpenError("'\(path)' does not state the format of '\(name)', and it is not guessed")
            }
            let folder = PathText.folder(of: path)
            return (target, format, folder.isEmpty ? "." : folder)
        }
    }

    /// The same of a file for the image's data, which QEMU looks for from the process's folder and we from the image's.
    static func resolveData(_ name: String, of path: String, _ rule: BackingRule) throws(OpenError)
        -> (path: String, folder: String?)
    {
        guard PathText.protocolName(name) == nil else {
            throw OpenError("the data file's name '\(name)' is not a plain file name")
        }
        guard rule == .ownFolder else { return (name, nil) }
        let folder = PathText.folder(of: path)
        return (PathText.combine(path, name), folder.isEmpty ? "." : folder)
    }
}
