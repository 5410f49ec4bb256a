public import Block

/// `resize`: what is asked for, read as qemu-img does before anything is touched.
public struct ResizeRequest: Sendable {
    /// The size that the disk shall have, in bytes, or how it differs.
    public enum Target: Equatable, Sendable { case size(UInt64), more(UInt64), less(UInt64) }

    public let image: ImageReference
    public let target: Target
    /// What becomes of the room that the disk gains.
    public let preallocation: Preallocation
    /// Whether the disk may lose its end, and what is on it.
    public let mayShrink: Bool

    /// `size` is `SIZE`, `+SIZE` or `-SIZE`.
    public init(
        image: ImageReference, size: String, preallocation: Preallocation = .off, mayShrink: Bool = false
    ) throws(ImageError) {
        self.image = image
        self.preallocation = preallocation
        self.mayShrink = mayShrink
        switch size.first {
        case "+": target = .more(try Self.bytes(size.dropFirst()))
        case "-": target = .less(try Self.bytes(size.dropFirst()))
        default: target = .size(try Self.bytes(size[...]))
        }
    }

    private static func bytes(_ text: Substring) throws(ImageError) -> UInt64 {
        do { return try SizeText.parse(String(text)) } catch .malformed {
            throw ImageError(
                """
                Parameter 'size' expects a non-negative number below 2^64
                Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
                and exabytes, respectively.
                """)
        } catch { throw ImageError("Value '\(text)' is out of range for parameter 'size'") }
    }

    /// The size that a disk of `current` bytes shall have.
    func size(from current: UInt64) throws(ImageError) -> UInt64 {
        let sum: (partialValue: UInt64, overflow: Bool) =
            switch target {
            case .size(let bytes): (bytes, false)
            case .more(let bytes): current.addingReportingOverflow(bytes)
            case .less(let bytes): current.subtractingReportingOverflow(bytes)
            }
        guard !sum.overflow, sum.partialValue > 0, sum.partialValue <= UInt64(Int64.max) else {
            throw ImageError("New image size must be positive")
        }
        if sum.partialValue <= current, preallocation != .off {
            throw ImageError("Preallocation can only be used for growing images")
        }
        if sum.partialValue < current, !mayShrink {
            throw ImageError(
                """
                Use the --shrink option to perform a shrink operation.
                warning: Shrinking an image will delete all data beyond the shrunken image's end. \
                Before performing such an operation, make sure there is no important data there.
                """)
        }
        return sum.partialValue
    }
}
