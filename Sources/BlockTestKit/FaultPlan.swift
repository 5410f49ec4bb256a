public import Block
public import Bytes

/// What kind of request a storage is asked.
public enum RequestKind: String, Sendable, CaseIterable {
    case read, write, zero, discard, flush, status, resize
}

/// A request that shall fail.
public struct Fault: Sendable {
    /// What happens to the bytes of a change that fails: none are there, all, the first of them, or some sectors.
    public enum Effect: Sendable { case nothing, whole, short, torn }

    public var kinds: Set<RequestKind>
    /// Which of the matching requests fails, counted from 0.
    public var nth: Int
    /// Whether all matching requests from then on fail too.
    public var forever: Bool
    public var error: BlockError
    /// Only requests that touch this range match.
    public var range: ByteRange?
    public var effect: Effect

    public init(
        _ kinds: Set<RequestKind>, nth: Int = 0, forever: Bool = false, error: BlockError = .io,
        range: ByteRange? = nil, effect: Effect = .nothing
    ) {
        self.kinds = kinds
        self.nth = nth
        self.forever = forever
        self.error = error
        self.range = range
        self.effect = effect
    }
}

/// Faults waiting for their request. Disks that share a plan count their requests together.
public final class FaultPlan {
    private var faults: [Fault]
    /// Requests that were counted.
    public private(set) var seen = 0
    /// Requests that failed by plan so far.
    public private(set) var fired = 0
    /// Told when the first one fails.
    public var onFirst: (() -> Void)?
    /// Which kinds these were.
    public private(set) var firedKinds: Set<RequestKind> = []

    public init(_ faults: [Fault] = []) { self.faults = faults }

    public func add(_ fault: Fault) { faults.append(fault) }

    public func clear() { faults = [] }

    /// Counts one request; answers the fault that hits it.
    public func next(_ kind: RequestKind, _ range: ByteRange?) -> Fault? {
        var hit: Fault?
        seen += 1
        for index in faults.indices.reversed() where faults[index].kinds.contains(kind) {
            if let wanted = faults[index].range, let range, !wanted.overlaps(range) { continue }
            if faults[index].nth > 0 {
                faults[index].nth -= 1
                continue
            }
            hit = faults[index]
            if !faults[index].forever { faults.remove(at: index) }
        }
        if hit != nil {
            fired += 1
            if fired == 1 { onFirst?() }
            firedKinds.insert(kind)
        }
        return hit
    }
}
