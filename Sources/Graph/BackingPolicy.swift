/// Which backing files are opened because an image names them. A name inside an image is data, not authority: it is a
/// plain file name, never `json:` or a protocol.
public enum BackingPolicy: Equatable, Sendable {
    /// None: only what is named explicitly is opened.
    case sealed
    /// What lies in the folder of the image that names it, or below.
    case ownFolder
    /// What lies in one of these folders or below.
    case allowed([String])
    /// QEMU's chain rules: whatever the image names, its format told by its content where none is recorded.
    case qemu
}
