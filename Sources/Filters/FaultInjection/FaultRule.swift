public import Block

/// The kinds of request that a fault can be for.
public struct FaultKinds: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let read = FaultKinds(rawValue: 1)
    public static let write = FaultKinds(rawValue: 2)
    public static let writeZeroes = FaultKinds(rawValue: 4)
    public static let discard = FaultKinds(rawValue: 8)
    public static let flush = FaultKinds(rawValue: 16)
    public static let blockStatus = FaultKinds(rawValue: 32)
    /// What a rule without an `iotype` is for.
    public static let standard: FaultKinds = [.read, .write, .writeZeroes, .discard, .flush]

    /// The kind of that name on the wire.
    public init?(name: String) {
        switch name {
        case "read": self = .read
        case "write": self = .write
        case "write-zeroes": self = .writeZeroes
        case "discard": self = .discard
        case "flush": self = .flush
        case "block-status": self = .blockStatus
        default: return nil
        }
    }
}

/// Requests that match fail, or wait, or both: a rule of `inject-error`.
public struct FaultRule: Hashable, Sendable {
    /// The rule holds once this has happened.
    public var event: FaultEvent
    /// The state in which the event counts; 0: any.
    public var state: Int
    public var kinds: FaultKinds
    /// The errno that the request fails with; 0: it does not fail.
    public var errno: Int32
    /// The 512-byte sector that the request must touch; nil: any. Flushes touch none.
    public var sector: UInt64?
    /// Whether the rule ends after one request.
    public var once: Bool
    /// Whether the request fails at once and not after others had a turn.
    public var immediately: Bool
    /// How long the request waits first, in nanoseconds.
    public var delayNs: UInt64

    public init(
        event: FaultEvent = .none, state: Int = 0, kinds: FaultKinds = .standard, errno: Int32 = 5,
        sector: UInt64? = nil, once: Bool = false, immediately: Bool = false, delayNs: UInt64 = 0
    ) {
        self.event = event
        self.state = state
        self.kinds = kinds
        self.errno = errno
        self.sector = sector
        self.once = once
        self.immediately = immediately
        self.delayNs = delayNs
    }
}

/// A change of the filter's state: a rule of `set-state`.
public struct StateRule: Hashable, Sendable {
    public var event: FaultEvent
    /// The state in which the event counts; 0: any.
    public var state: Int
    public var newState: Int

    public init(event: FaultEvent, state: Int = 0, newState: Int) {
        self.event = event
        self.state = state
        self.newState = newState
    }
}
