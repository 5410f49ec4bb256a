public import Filters

/// Options of `blkdebug`, the fault-injection filter.
public struct BlkdebugOptions: Equatable, Sendable {
    public var image: ChildReference
    /// A file with further rules, which stand before those that are given here.
    public var config: String?
    /// The `inject-error` rules.
    public var errors: [FaultRule]
    /// The `set-state` rules.
    public var transitions: [StateRule]
    /// What the filter pretends to ask of requests.
    public var limits = PretendedLimits()
    /// What it uses its image for besides what its own users do, and what it lets others do with it no longer.
    public var taken: Permissions = []
    public var unshared: Permissions = []

    /// `align` is the request alignment of the limits, in bytes.
    public init(
        image: ChildReference, errors: [FaultRule] = [], transitions: [StateRule] = [], align: UInt64? = nil
    ) {
        self.image = image
        self.errors = errors
        self.transitions = transitions
        limits.align = align
    }
}

/// Options of `throttle`.
public struct ThrottleOptions: Equatable, Sendable {
    public var file: ChildReference
    /// The name of the group whose limits hold.
    public var group: String

    public init(file: ChildReference, group: String) {
        self.file = file
        self.group = group
    }
}

/// Options of `copy-on-read`.
public struct CopyOnReadOptions: Equatable, Sendable {
    public var file: ChildReference
    /// The name of the lowest node that is copied from; nil: all the way down.
    public var bottom: String?

    public init(file: ChildReference, bottom: String? = nil) {
        self.file = file
        self.bottom = bottom
    }
}

/// Options of `compress`.
public struct CompressOptions: Equatable, Sendable {
    public var file: ChildReference

    public init(file: ChildReference) { self.file = file }
}

/// Options of `preallocate`, in bytes.
public struct PreallocateOptions: Equatable, Sendable {
    public var file: ChildReference
    public var room: PreallocateState.Options

    public init(file: ChildReference, room: PreallocateState.Options = .init()) {
        self.file = file
        self.room = room
    }
}
