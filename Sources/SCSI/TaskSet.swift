import Block

/// The commands under way at a unit (SAM-5 8): simple ones run side by side, an ordered one waits for those before it
/// and holds up those behind it.
final class TaskSet {
    private var active = 0
    /// Whether an ordered command runs or waits.
    private var isBarred = false
    private let newcomers = WaitQueue()
    private let ordered = WaitQueue()

    /// Whether a simple command need not wait. Then it has entered.
    func enterAtOnce() -> Bool {
        if isBarred { return false }
        active += 1
        return true
    }

    func enter() async {
        while isBarred { await newcomers.wait() }
        active += 1
    }

    func leave() {
        active -= 1
        if active == 0 { ordered.wakeAll() }
    }

    /// Enters once those before have left; nobody else enters until `leaveOrdered`.
    func enterOrdered() async {
        while isBarred { await newcomers.wait() }
        isBarred = true
        while active > 0 { await ordered.wait() }
    }

    func leaveOrdered() {
        isBarred = false
        newcomers.wakeAll()
    }
}
