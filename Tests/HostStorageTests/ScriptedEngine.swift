import Block
import Glibc
import HostTestKit

@testable import HostIO

/// A ring whose answers the test chooses: it makes each file operation's call in place, cuts it short or fails it, and
/// keeps a record. Readiness and wake-ups go through poll(2).
final class ScriptedEngine: Engine {
    enum Kind: Equatable { case read, write, durableWrite, sync, allocate }

    let isRing = true
    let allowsCallsInPlace = false
    /// What was asked of the kernel, in order.
    private(set) var calls: [Kind] = []
    /// No read or write moves more than this.
    var longest = Int.max
    /// Errors to answer in place of the next calls of a kind.
    var failures: [Kind: [Int32]] = [:]
    /// Whether calls wait for `letGo`, as they do in a slow kernel.
    var holds = false
    private var held: [() -> (UInt64, Int32)] = []
    private let readiness = PollEngine()
    private var answers: [(UInt64, Int32)] = []

    /// The error for which there is no other such engine.
    var refusal: BlockError?
    func another() throws(BlockError) -> any Engine {
        if let refusal { throw refusal }
        return ScriptedEngine()
    }

    func begin() -> Int32 { readiness.begin() }
    func end() { readiness.end() }
    func poll(_ descriptor: Int32, for direction: PollDirection, id: UInt64) {
        readiness.poll(descriptor, for: direction, id: id)
    }
    func cancelPoll(_ descriptor: Int32, id: UInt64) { readiness.cancelPoll(descriptor, id: id) }

    func submit(_ operation: FileOperation, id: UInt64) {
        let kind = unsafe Self.kind(operation)
        calls.append(kind)
        if let code = failures[kind]?.first {
            failures[kind]?.removeFirst()
            answers.append((id, -code))
            return
        }
        // Proof: a part of memory that is valid until the operation completes.
        let call = { (id, unsafe self.cut(operation).call()) }
        if holds { held.append(call) } else { answers.append(call()) }
    }

    /// Makes the calls that were held.
    func letGo() {
        holds = false
        for call in held { answers.append(call()) }
        held = []
    }

    func enter(wait: Bool, timeoutNs: UInt64, _ complete: (UInt64, Int32) -> Void) {
        let told = answers
        answers = []
        for (id, code) in told { complete(id, code) }
        readiness.enter(wait: wait && told.isEmpty, timeoutNs: timeoutNs, complete)
    }

    private func cut(_ operation: FileOperation) -> FileOperation {
        switch unsafe operation {
        case .read(let file, let memory, let count, let offset):
            unsafe .read(file, memory, min(count, longest), at: offset)
        case .write(let file, let memory, let count, let offset, let dsync):
            unsafe .write(file, memory, min(count, longest), at: offset, dsync: dsync)
        default: unsafe operation
        }
    }

    private static func kind(_ operation: FileOperation) -> Kind {
        switch unsafe operation {
        case .read: .read
        case .write(_, _, _, _, let dsync): dsync ? .durableWrite : .write
        case .fdatasync: .sync
        case .fallocate: .allocate
        }
    }

    /// Runs a test's body on a thread with such an engine.
    static func use(_ body: @escaping @Sendable (IOThread, ScriptedEngine) async throws -> Void) async throws {
        let engine = ScriptedEngine()
        // Proof: the engine is touched by the thread alone from here on.
        nonisolated(unsafe) let shared = engine
        try await run(on: IOThread(on: engine, poolSize: 2)) { thread in try await body(thread, unsafe shared) }
    }
}
