import Synchronization

/// The memory that all clients of a daemon together may make it hold: buffers of requests, what was received and not yet
/// understood, what was answered and not yet sent. A hard limit: bytes are charged before they are allocated, and what is
/// refused is not attempted.
///
/// Half of it belongs to the clients, an equal share each. The other half is common: whoever has used its share up may
/// take of it, but never more than it leaves to the others. So whoever comes next finds some, however greedy those before
/// it were. What is refused is done in smaller pieces, within the share, or waits for the client's own requests: nobody
/// waits for memory that another client holds.
///
/// Images' caches are not in it; they have bounds of their own. Clients may be served by several threads.
public final class MemoryBudget: Sendable {
    /// Bytes in all.
    public let limit: Int
    /// How many clients there may be at once; a server turns away those beyond it.
    public let clients: Int
    /// Bytes that are one client's own.
    public let share: Int
    private let left: Atomic<Int>

    public static let standard = 512 << 20
    /// What serving one client takes at least, whatever it asks for.
    public static let leastShare = 128 << 10
    /// The smallest budget: room for 64 clients.
    public static let least = 2 * 64 * leastShare

    /// `clients` is made fewer where their shares would be too small.
    public init(limit: Int = standard, clients: Int = 1024) {
        self.limit = limit
        self.clients = max(1, min(clients, limit / 2 / Self.leastShare))
        share = limit / 2 / self.clients
        left = Atomic(limit / 2)
    }

    /// What is left of the common half.
    public var common: Int { left.load(ordering: .relaxed) }

    /// Takes so much of the common half for a client that will then have `beyond` of it; false where it would have more than it
    /// leaves to the others.
    fileprivate func take(_ bytes: Int, of beyond: Int) -> Bool {
        var seen = left.load(ordering: .relaxed)
        while beyond <= seen - bytes {
            let (isDone, now) = left.weakCompareExchange(expected: seen, desired: seen - bytes, ordering: .relaxed)
            if isDone { return true }
            seen = now
        }
        return false
    }

    fileprivate func give(_ bytes: Int) { left.wrappingAdd(bytes, ordering: .relaxed) }

    /// Whether buffers may be kept for the next request rather than given back: not where half of the common part is gone.
    public var isRoomy: Bool { common >= limit / 4 }
}

/// What one client holds of a budget. All of it returns when the account goes.
public final class MemoryAccount {
    public let budget: MemoryBudget
    public private(set) var used = 0

    public init(_ budget: MemoryBudget) { self.budget = budget }

    deinit { refund(used) }

    private var borrowed: Int { max(0, used - budget.share) }

    /// Takes so many bytes, all or none; false where they do not fit.
    public func charge(_ bytes: Int) -> Bool {
        let wanted = used + bytes
        if wanted > budget.share {
            let beyond = wanted - budget.share
            let more = beyond - borrowed
            guard budget.take(more, of: beyond) else { return false }
        }
        used = wanted
        return true
    }

    /// Gives so many bytes back. Precondition: they were charged.
    public func refund(_ bytes: Int) {
        precondition(bytes <= used, "more memory is given back than was taken")
        let before = borrowed
        used -= bytes
        budget.give(before - borrowed)
    }
}
