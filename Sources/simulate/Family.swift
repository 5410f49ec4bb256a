import ArgumentParser
import Simulation

/// Which programs the seeds stand for.
enum Family: String, ExpressibleByArgument, CaseIterable, Sendable {
    /// A guest's requests.
    case plain
    /// Internal snapshots that the image makes, applies and deletes, between them.
    case snapshots
    /// Guest data in a file of its own.
    case dataFiles = "data-files"
    /// New sizes, with room for what is gained and the file cut where the disk was.
    case sizes
    /// Bitmaps, internal snapshots, amendments and new sizes beside each other.
    case mixed

    /// What runs of the family are recorded as; the first one had no other beside it.
    func name(_ run: String) -> String { self == .plain ? run : "\(run), \(rawValue)" }

    func scenario(_ seed: UInt64, on stored: [StartImage]) -> Scenario {
        switch self {
        case .plain: Scenario(seed: seed, on: stored)
        case .snapshots: Scenario(snapshots: seed, on: stored)
        case .dataFiles: Scenario(dataFiles: seed)
        case .sizes: Scenario(sizes: seed, on: stored)
        case .mixed: Scenario(mixed: seed, on: stored)
        }
    }

    func faults(_ seed: UInt64, on stored: [StartImage]) -> FaultExamination {
        switch self {
        case .plain: FaultExamination(seed: seed, on: stored)
        default: FaultExamination(scenario(seed, on: stored), seed: seed)
        }
    }
}
