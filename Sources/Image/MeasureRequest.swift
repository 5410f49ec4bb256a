/// `measure`: of what image, or of what size, the room is asked that a converted one takes.
public struct MeasureRequest: Sendable {
    /// Nil: of `size` alone.
    public var image: ImageReference?
    public var size: UInt64?
    public var targetFormat: String
    public var options: OptionList
    public var snapshot: ConvertRequest.SnapshotName?

    /// Refuses what does not go together. `hasImageOptions`: the name is a list of options; until `image` says which, it is
    /// a file's.
    public init(
        operands: [String], format: String?, size: UInt64?, targetFormat: String?, options: OptionList,
        snapshot: ConvertRequest.SnapshotName?, forceShare: Bool, hasImageOptions: Bool = false
    ) throws(ImageError) {
        guard operands.count <= 1 else { throw ImageError("At most one filename argument is allowed.") }
        let path = operands.first
        if path == nil, format != nil || snapshot != nil || hasImageOptions {
            throw ImageError("--image-opts, -f, and -l require a filename argument.")
        }
        if path == nil, size == nil { throw ImageError("Either --size N or one filename must be specified.") }
        if path != nil, size != nil { throw ImageError("--size N cannot be used together with a filename.") }
        image = path.map { ImageReference($0, format: format, forceShare: forceShare) }
        self.size = size
        self.targetFormat = targetFormat ?? "raw"
        self.options = options
        self.snapshot = snapshot
    }
}
