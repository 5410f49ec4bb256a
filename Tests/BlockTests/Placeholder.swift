// BlockTests: see docs/architecture.md.
