/// What one thing may be after a crash: the last value that is durable, or one that was written since.
///
/// Changes of one thing come one after the other: the next is issued when the one before has completed or failed.
struct ValueHistory<Value: Hashable & Sendable>: Sendable {
    private struct Change: Sendable {
        let request: UInt64
        /// What the thing may be when the change has ended; several where a discard or a failure left it open.
        var values: [Value]
        /// What it was not, as a reader saw, and yet may be after a crash.
        var unseen: [Value] = []
        /// Its place among all completions; nil while it is under way.
        var completion: UInt64?
    }

    /// What it is where no change since counts.
    private var durable: [Value]
    private var changes: [Change] = []

    init(_ value: Value) { durable = [value] }

    /// What a reader may see now, when no change is under way.
    var current: [Value] { changes.last?.values ?? durable }

    /// Whether nothing has changed since the durable value.
    var isSettled: Bool { changes.isEmpty }

    /// Whether one of the values that a reader may see after a crash fits.
    func allows(where fits: (Value) -> Bool) -> Bool {
        durable.contains(where: fits)
            || changes.contains { $0.values.contains(where: fits) || $0.unseen.contains(where: fits) }
    }

    var allowed: Set<Value> { Set(durable).union(changes.flatMap { $0.values + $0.unseen }) }

    mutating func issue(_ request: UInt64, _ values: [Value]) {
        changes.append(Change(request: request, values: values, completion: nil))
    }

    mutating func complete(_ request: UInt64, at completion: UInt64) {
        guard let index = changes.lastIndex(where: { $0.request == request }) else { return }
        changes[index].completion = completion
    }

    /// The change may have happened, or not, or in part.
    mutating func fail(_ request: UInt64, at completion: UInt64) {
        guard let index = changes.lastIndex(where: { $0.request == request }) else { return }
        let before = index == 0 ? durable : changes[index - 1].values
        changes[index].values += before.filter { !changes[index].values.contains($0) }
        changes[index].completion = completion
    }

    /// What completed up to then is durable.
    mutating func harden(upTo completion: UInt64) {
        guard let last = changes.lastIndex(where: { ($0.completion ?? .max) <= completion }) else { return }
        durable = changes[last].values
        changes.removeFirst(last + 1)
    }

    /// The change is durable by itself.
    mutating func harden(_ request: UInt64) {
        guard let index = changes.lastIndex(where: { $0.request == request }) else { return }
        durable = changes[index].values
        changes.removeFirst(index + 1)
    }

    /// A reader has seen which of the possible values it is; only durable if a flush says so.
    mutating func settle(_ value: Value) {
        guard let last = changes.indices.last else { return durable = [value] }
        changes[last].unseen += changes[last].values.filter { $0 != value }
        changes[last].values = [value]
    }
}
