/// `dd`: copies blocks of one image into a new one.
public struct CopyBlocksRequest: Sendable {
    public let input: String
    public let output: String
    public var format: String?
    /// Nil: raw.
    public var targetFormat: String?
    /// Whether the input is options of the image's node.
    public var isOptions = false
    public var forceShare = false
    /// Bytes.
    public private(set) var blockSize: UInt64 = 512
    public private(set) var count: UInt64?
    public private(set) var skip: UInt64 = 0

    private static let largestBlock = UInt64(Int32.max)

    /// Reads operands `if=`, `of=`, `bs=`, `count=` and `skip=`.
    public init(_ operands: [String]) throws(ImageError) {
        var (input, output) = (nil as String?, nil as String?)
        for operand in operands {
            guard let equals = operand.firstIndex(of: "=") else {
                throw ImageError("unrecognized operand \(operand)")
            }
            let value = String(operand[operand.index(after: equals)...])
            switch operand[..<equals] {
            case "if": input = value
            case "of": output = value
            case "bs": blockSize = try SizeText.argument(value, "bs", in: 1...Self.largestBlock)
            case "count": count = try SizeText.argument(value, "count")
            case "skip": skip = try SizeText.argument(value, "skip")
            case let name: throw ImageError("unrecognized operand \(name)")
            }
        }
        guard let input, let output else { throw ImageError("Must specify both input and output files") }
        self.input = input
        self.output = output
    }

    /// Where copying begins and ends on a disk of `length` bytes. As qemu-img 7.2 has it, `count` is counted from the disk's
    /// start, and `skip` takes of it. Nil: the disk ends before the first block.
    func range(of length: UInt64) -> (start: UInt64, end: UInt64)? {
        let bytes = count.flatMap { count -> UInt64? in
            let (bytes, overflow) = count.multipliedReportingOverflow(by: blockSize)
            return overflow ? nil : bytes
        }
        let end = min(length, bytes ?? length)
        let (start, overflow) = skip.multipliedReportingOverflow(by: blockSize)
        return overflow || start > end ? nil : (start, end)
    }
}
