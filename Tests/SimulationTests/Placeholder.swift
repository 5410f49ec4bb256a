// SimulationTests: see docs/architecture.md.
