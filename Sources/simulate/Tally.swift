import Simulation

/// What was counted in some runs.
struct Tally: Sendable {
    var programs = 0
    var states = 0
    var points = 0
    /// States that qemu-img was asked about.
    var asked = 0
    /// Violations of another engine that its own tools show too.
    var confirmed = 0
    var reported = 0
    var violations: [Violation.Kind: Int] = [:]
    /// The same by what had begun of all that can be done to an image.
    var verbs: VerbCounts = [:]

    static func += (sum: inout Tally, more: Tally) {
        sum.programs += more.programs
        sum.states += more.states
        sum.points += more.points
        sum.asked += more.asked
        sum.confirmed += more.confirmed
        sum.reported += more.reported
        sum.verbs += more.verbs
        sum.violations.merge(more.violations, uniquingKeysWith: +)
    }

    var violationCount: Int { violations.values.reduce(0, +) }

    var text: String {
        let found = Violation.Kind.allCases.filter { $0 != .unexpected || violations[$0] != nil }
        return "\(states) states, \(programs) programs, "
            + (points > 0 ? "\(points) failed I/Os, \(reported) errors reported, " : "")
            + (asked > 0 ? "\(asked) shown to qemu-img, " : "")
            + found.map { "\(violations[$0, default: 0]) \($0.rawValue)" }.joined(separator: ", ")
            + (confirmed > 0 ? ", \(confirmed) of these confirmed" : "")
    }
}

extension VerbCount {
    /// One line.
    var text: String {
        "\(states) states, \(statesUnderWay) of them with it under way, \(points) failed I/Os, \(pointsUnderWay) of them likewise, "
            + "\(programs) programs, \(violations) violations"
    }
}
