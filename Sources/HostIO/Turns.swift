import CLinux

/// What the threads of one program take turns by: the owner of the graph has its turns alone, its peers have theirs side by
/// side. Whoever wants a turn alone goes before those who would share one, so that a busy peer cannot hold up the owner.
/// See docs/decisions/0009-io-threads.md.
@safe
final class Turns: Sendable {
    // Proof: made by init and freed by deinit; its functions are for any thread.
    private nonisolated(unsafe) let lock: OpaquePointer = unsafe nacre_turns_make()

    deinit { unsafe nacre_turns_free(lock) }

    func begin(alone: Bool) { unsafe nacre_turns_begin(lock, alone ? 1 : 0) }
    func end() { unsafe nacre_turns_end(lock) }
}
