/// How work that could go on for long without ever waiting stays a good neighbour: after so many steps it rests, so that
/// the other tasks of its context, its timers and the kernel get their turn, and there it learns whether it is still
/// wanted.
///
/// Steps are counted by who works, not measured by a clock: the same run rests at the same places.
public struct Pace {
    private let context: (any IOContext)?
    private let pausing: () async -> Void
    private let isWanted: () -> Bool

    /// At each rest `pausing` is waited for, then `isWanted` is asked.
    public init(
        _ context: any IOContext, isWanted: @escaping () -> Bool = { true }, pausing: @escaping () async -> Void = {}
    ) {
        self.context = context
        self.pausing = pausing
        self.isWanted = isWanted
    }

    private init() {
        context = nil
        pausing = {}
        isWanted = { true }
    }

    /// For programs that do one thing at a time: never rests.
    public static var none: Pace { Pace() }

    /// Lets all others go first. Throws `closed` where the work is not wanted any more.
    public func rest() async throws(BlockError) {
        guard let context else { return }
        await context.yield()
        await pausing()
        if !isWanted() { throw .closed }
    }
}
