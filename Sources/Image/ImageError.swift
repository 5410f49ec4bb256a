public import Block

/// Why a command of the image tool failed: what stands behind `qemu-img: `, and the exit code.
public struct ImageError: Error, Equatable, Sendable {
    public let message: String
    public let exitCode: Int32

    public init(_ message: String, exitCode: Int32 = 1) {
        self.message = message
        self.exitCode = exitCode
    }

    /// An image that could not be opened.
    public static func couldNotOpen(_ path: String, _ error: OpenError) -> ImageError {
        ImageError("Could not open '\(path)': \(error.text)")
    }
}
