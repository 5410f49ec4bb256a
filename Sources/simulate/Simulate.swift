import ArgumentParser

/// Long runs of the simulations: `make crash`, `make faults`, `make soak`.
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs programs on simulated disks and judges what crashes and failures leave.",
        subcommands: [
            Audit.self, Bitmaps.self, Crash.self, Exhaustive.self, Faults.self, Model.self, Moves.self, Peer.self,
            Repair.self, Space.self, Verbs.self,
        ])
}
