// GraphTests: see docs/architecture.md.
