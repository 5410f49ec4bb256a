import Simulation
import Synchronization

/// The seeds of a running campaign: which are handed out, and what those that have ended found.
///
/// Seeds end in any order; what is kept on the page always ends before the lowest that has not, so that a run that is broken
/// off leaves neither gaps nor seeds that count twice.
final class Ledger: Sendable {
    private struct State {
        var next: UInt64
        var tally = Tally()
        /// Every seed below has ended.
        var lowest: UInt64
        /// What seeds from there on found.
        var ended: [UInt64: Tally] = [:]
        /// The sum of those below that is not on the page.
        var unkept = Tally()
    }

    private let name: String
    private let first: UInt64
    private let table: RunTable?
    /// The one with a row for each verb.
    private let verbTable: RunTable?
    private let state: Mutex<State>

    init(name: String, first: UInt64, table: RunTable?, verbs: RunTable? = nil) {
        (self.name, self.first, self.table, verbTable) = (name, first, table, verbs)
        state = Mutex(State(next: first, lowest: first))
    }

    var tally: Tally { state.withLock { $0.tally } }

    /// The one line that a run is told in.
    var text: String { state.withLock { "\(name): \($0.tally.text); seeds \(first)..<\($0.next)" } }

    /// A line for each verb.
    var verbs: String {
        let counts = tally.verbs
        return Verb.allCases.map { "  \($0.rawValue): \(counts[$0, default: VerbCount()].text)" }.joined(
            separator: "\n")
    }

    /// The next seed, where one is wanted.
    func take(where isWanted: (UInt64, Tally) -> Bool) -> UInt64? {
        state.withLock { state in
            guard isWanted(state.next, state.tally) else { return nil }
            state.next += 1
            return state.next - 1
        }
    }

    func finish(_ seed: UInt64, _ tally: Tally) {
        state.withLock { state in
            state.tally += tally
            state.ended[seed] = tally
            while let next = state.ended.removeValue(forKey: state.lowest) {
                state.unkept += next
                state.lowest += 1
            }
        }
    }

    /// Adds to the page what is not there yet.
    func keep() throws {
        guard let table else { return }
        try state.withLock { state in
            guard state.unkept.programs > 0 else { return }
            try table.add(state.unkept, name: name, next: state.lowest)
            for verb in Verb.allCases {
                guard let count = state.unkept.verbs[verb] else { continue }
                try verbTable?.add(count.row, name: verb.rawValue, next: state.lowest)
            }
            state.unkept = Tally()
        }
    }

    /// Prints without another thread's lines in between.
    func print(_ text: String) { state.withLock { _ in Swift.print(text) } }
}
