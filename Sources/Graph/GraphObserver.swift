public import Block
public import Qcow2

/// What a graph tells of itself. Called on the graph's context, from within its operations: it may note and send
/// events, and must not call back into the graph.
public struct GraphObserver {
    /// An image was found to be damaged.
    public var onCorruption: (_ nodeName: String, CorruptionReport) -> Void
    /// An image takes no more writes, since a metadata write or a flush failed with this error.
    public var onFence: (_ nodeName: String, BlockError) -> Void
    /// A user's request failed.
    public var onIOError: (IOErrorReport) -> Void
    /// A backing file was opened because an image names it.
    public var onBackingOpened: (_ path: String, _ imagePath: String) -> Void
    /// A file for an image's data was opened because the image names it.
    public var onDataFileOpened: (_ path: String, _ imagePath: String) -> Void
    /// What was left to write could not be written as a node closed. Without it that is a warning.
    public var onCloseFailure: ((_ nodeName: String, BlockError) -> Void)?
    /// A line for people: deprecations, and failures while something closes.
    public var onWarning: (String) -> Void

    public init(
        onCorruption: @escaping (_ nodeName: String, CorruptionReport) -> Void = { _, _ in },
        onFence: @escaping (_ nodeName: String, BlockError) -> Void = { _, _ in },
        onIOError: @escaping (IOErrorReport) -> Void = { _ in },
        onBackingOpened: @escaping (_ path: String, _ imagePath: String) -> Void = { _, _ in },
        onDataFileOpened: @escaping (_ path: String, _ imagePath: String) -> Void = { _, _ in },
        onCloseFailure: ((_ nodeName: String, BlockError) -> Void)? = nil,
        onWarning: @escaping (String) -> Void = { _ in }
    ) {
        self.onCloseFailure = onCloseFailure
        self.onCorruption = onCorruption
        self.onFence = onFence
        self.onIOError = onIOError
        self.onBackingOpened = onBackingOpened
        self.onDataFileOpened = onDataFileOpened
        self.onWarning = onWarning
    }
}

/// A request that failed on a node: what the event BLOCK_IO_ERROR tells. Malformed requests are not reported.
public struct IOErrorReport: Equatable, Sendable {
    public enum Operation: String, Sendable { case read, write }
    /// The user whose request it was: an export's name; empty where it was nobody's.
    public let user: String
    public let nodeName: String
    /// Flushes, zeroes and discards count as writes.
    public let operation: Operation
    public let error: BlockError
    public var isNoSpace: Bool { error == .noSpace }

    public init(user: String, nodeName: String, operation: Operation, error: BlockError) {
        self.user = user
        self.nodeName = nodeName
        self.operation = operation
        self.error = error
    }
}
