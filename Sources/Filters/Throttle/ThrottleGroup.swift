public import Block

/// Members that share one set of limits: their requests pass a `Throttle`, first come first served in each direction.
public final class ThrottleGroup {
    private struct Waiter {
        let member: ObjectIdentifier
        let byteCount: UInt64
        let suspension: Suspension<Void>
    }

    /// The requests of one direction that wait, and the timer that lets the first of them go.
    private struct Lane {
        var waiting: [Waiter] = []
        var timer: TimerID?
    }

    public let name: String
    private let context: any IOContext
    private var throttle: Throttle
    private var reads = Lane()
    private var writes = Lane()

    public init(_ name: String, _ limits: ThrottleLimits, on context: any IOContext) {
        self.name = name
        self.context = context
        throttle = Throttle(limits, nowNs: context.nowNs)
    }

    public var limits: ThrottleLimits { throttle.limits }
    /// Requests that wait.
    public var waitingCount: Int { reads.waiting.count + writes.waiting.count }

    /// Holds others from now on; the buckets are empty again.
    public func setLimits(_ limits: ThrottleLimits) {
        throttle = Throttle(limits, nowNs: context.nowNs)
        pump(\.reads, isWrite: false)
        pump(\.writes, isWrite: true)
    }

    /// Waits until a member's request may go.
    public func admit(_ member: AnyObject, byteCount: UInt64, isWrite: Bool) async {
        let isFirst = isWrite ? writes.waiting.isEmpty : reads.waiting.isEmpty
        if isFirst, throttle.delayNs(isWrite: isWrite, at: context.nowNs) == 0 {
            throttle.account(byteCount: byteCount, isWrite: isWrite)
            return
        }
        await suspend { (suspension: Suspension<Void>) in
            let waiter = Waiter(member: ObjectIdentifier(member), byteCount: byteCount, suspension: suspension)
            if isWrite {
                writes.waiting.append(waiter)
                pump(\.writes, isWrite: true)
            } else {
                reads.waiting.append(waiter)
                pump(\.reads, isWrite: false)
            }
        }
    }

    /// Lets all requests of a member go at once, uncounted: it has left, or they will fail anyway.
    public func release(_ member: AnyObject) {
        release(\.reads, of: ObjectIdentifier(member))
        release(\.writes, of: ObjectIdentifier(member))
    }

    private func release(_ lane: ReferenceWritableKeyPath<ThrottleGroup, Lane>, of member: ObjectIdentifier) {
        let released = self[keyPath: lane].waiting.filter { $0.member == member }
        guard !released.isEmpty else { return }
        self[keyPath: lane].waiting.removeAll { $0.member == member }
        for waiter in released { waiter.suspension.resume() }
    }

    /// Lets go what may, and sets the timer for the next.
    private func pump(_ lane: ReferenceWritableKeyPath<ThrottleGroup, Lane>, isWrite: Bool) {
        if let timer = self[keyPath: lane].timer { context.cancel(timer) }
        self[keyPath: lane].timer = nil
        while let next = self[keyPath: lane].waiting.first {
            let delayNs = throttle.delayNs(isWrite: isWrite, at: context.nowNs)
            guard delayNs == 0 else {
                // Timers know milliseconds; what is late by less than one is made good by the buckets.
                let delayMs = (delayNs + 999_999) / 1_000_000
                self[keyPath: lane].timer = context.schedule(afterMs: delayMs) { [weak self] in
                    self?[keyPath: lane].timer = nil
                    self?.pump(lane, isWrite: isWrite)
                }
                return
            }
            throttle.account(byteCount: next.byteCount, isWrite: isWrite)
            self[keyPath: lane].waiting.removeFirst()
            next.suspension.resume()
        }
    }
}
