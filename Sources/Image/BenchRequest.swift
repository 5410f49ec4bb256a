/// `bench`: how an image is loaded.
public struct BenchRequest: Sendable {
    public var image: ImageReference
    /// Requests in all.
    public var count: UInt64 = 75_000
    /// As many are under way at once.
    public var depth: UInt64 = 64
    /// Bytes of a request.
    public var size: UInt64 = 4096
    /// Bytes from the start of one to the start of the next; 0: its size.
    public var step: UInt64 = 0
    /// Where the first one starts.
    public var offset: UInt64 = 0
    public var writes = false
    public var pattern: UInt8 = 0
    /// A flush after so many requests; 0: none.
    public var flushInterval: UInt64 = 0
    /// Whether requests end before a flush begins.
    public var drains = true
    public var isQuiet = false

    public init(_ image: ImageReference) { self.image = image }

    /// Larger numbers are refused, as by qemu-img.
    private static let most = UInt64(Int32.max)

    /// A plain number behind `-c`, `-d` or `--flush-interval`; `what` names it.
    public static func number(_ text: String, _ what: String, least: UInt64 = 0) throws(ImageError) -> UInt64 {
        guard let number = SizeText.number(text), (least...most).contains(number) else {
            throw ImageError("Invalid \(what) specified")
        }
        return number
    }

    /// A number of bytes behind `-s` or `-S`.
    public static func size(_ text: String, _ what: String) throws(ImageError) -> UInt64 {
        try SizeText.argument(text, what, in: 0...most)
    }

    /// Refuses what does not go together.
    public func check() throws(ImageError) {
        if !writes, flushInterval > 0 { throw ImageError("--flush-interval is only available in write tests") }
        if flushInterval > 0, flushInterval < depth { throw ImageError("Flush interval can't be smaller than depth") }
    }
}
