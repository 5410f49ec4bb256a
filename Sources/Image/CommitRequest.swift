/// `commit`: the image, and where what it holds shall go.
public struct CommitRequest: Sendable {
    public let image: ImageReference
    /// The image of its chain that takes what those above it hold; nil for the one right below. Names are read as they
    /// stand in an image: from the folder of the image above.
    public let base: String?
    /// Whether the image keeps what it holds, as it must where an image between it and the base holds something too.
    public let keepsContents: Bool
    /// Bytes a second that are read and written at most; nil for no limit.
    public let bytesPerSecond: UInt64?

    public init(
        image: ImageReference, base: String? = nil, keepsContents: Bool = false, bytesPerSecond: UInt64? = nil
    ) {
        self.image = image
        self.base = base
        self.keepsContents = keepsContents || base != nil
        self.bytesPerSecond = bytesPerSecond.flatMap { $0 == 0 ? nil : $0 }
    }
}
