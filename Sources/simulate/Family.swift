import ArgumentParser
import Simulation

/// Which programs the seeds stand for.
enum Family: String, ExpressibleByArgument, CaseIterable, Sendable {
    /// A guest's requests.
    case plain
    /// Internal snapshots that the image makes, applies and deletes, between them.
    case snapshots

    /// What runs of the family are recorded as; the first one had no other beside it.
    func name(_ run: String) -> String { self == .plain ? run : "\(run), \(rawValue)" }

    func scenario(_ seed: UInt64, on stored: [StartImage]) -> Scenario {
        switch self {
        case .plain: Scenario(seed: seed, on: stored)
        case .snapshots: Scenario(snapshots: seed, on: stored)
        }
    }

    func faults(_ seed: UInt64, on stored: [StartImage]) -> FaultExamination {
        switch self {
        case .plain: FaultExamination(seed: seed, on: stored)
        case .snapshots: FaultExamination(snapshots: seed, on: stored)
        }
    }
}
