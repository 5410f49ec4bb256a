// JSONTests: see docs/architecture.md.
