/// What `bitmap` does with the bitmap that it names.
public enum BitmapCommand: Equatable, Sendable {
    case add, remove, clear, enable, disable
    /// Marks what the bitmap of this name has.
    case merge(String)

    var name: String {
        switch self {
        case .add: "add"
        case .remove: "remove"
        case .clear: "clear"
        case .enable: "enable"
        case .disable: "disable"
        case .merge: "merge"
        }
    }
}

/// The arguments of `bitmap`.
public struct BitmapRequest: Sendable {
    public var image: ImageReference
    public var name: String
    /// In their order; those before one that fails have happened.
    public var commands: [BitmapCommand]
    /// Bytes, for `add`.
    public var granularity: UInt64?
    /// Where the bitmaps to be merged are, if not in the image itself.
    public var source: ImageReference?

    public init(
        image: ImageReference, name: String, commands: [BitmapCommand], granularity: UInt64?, source: ImageReference?
    ) {
        self.image = image
        self.name = name
        self.commands = commands
        self.granularity = granularity
        self.source = source
    }
}
