// InteropTests: see docs/architecture.md.
