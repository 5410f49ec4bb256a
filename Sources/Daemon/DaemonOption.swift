import Block

/// One option of the command line that makes something, as it was written: `--blockdev TEXT` and its like. Options are
/// carried out strictly in their order, as qemu-storage-daemon does.
public struct DaemonOption: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable {
        case blockdev, chardev, device, monitor, export, object
        case nbdServer = "nbd-server"
    }

    public let kind: Kind
    /// `key=value,…` or a JSON object.
    public let text: String

    public init(_ kind: Kind, _ text: String) {
        self.kind = kind
        self.text = text
    }
}

/// What a daemon is told before its options.
public struct DaemonConfiguration: Sendable {
    /// How backing files that only an image names are treated.
    public enum Backing: Sendable, Equatable {
        /// Only what is named explicitly is opened.
        case sealed
        /// Also what lies in the image's own folder or below.
        case ownFolder
        /// Also what lies in one of these folders or below.
        case allowed([String])
        /// QEMU's chain rules: whatever the image names.
        case qemu
    }

    /// The version of this program, told in the greeting's `package`.
    public var version: String
    public var backing: Backing
    /// Whether QEMU's behaviour holds where ours differs on purpose (called by a `qemu-*` name).
    public var actsAsQEMU: Bool
    /// Bytes that all clients together may make the daemon hold.
    public var memory: Int
    /// Whether the process leaves its terminal, so that nobody is at its standard input.
    public var daemonizes: Bool

    /// What `memory` is unless said otherwise.
    public static let standardMemory = MemoryBudget.standard
    /// Less than this is too little for even a few clients.
    public static let leastMemory = MemoryBudget.least

    public init(
        version: String, backing: Backing, actsAsQEMU: Bool = false, memory: Int = standardMemory,
        daemonizes: Bool = false
    ) {
        self.memory = memory
        self.version = version
        self.backing = backing
        self.actsAsQEMU = actsAsQEMU
        self.daemonizes = daemonizes
    }
}

/// An option that could not be carried out: the daemon does not start. Its text is what a person reads behind
/// `PROGRAM: --KIND TEXT: `.
public struct DaemonStartError: Error, Sendable {
    /// Nil where no single option is to blame.
    public let option: DaemonOption?
    public let message: String

    public init(option: DaemonOption?, message: String) {
        self.option = option
        self.message = message
    }
}
