// QAPITests: see docs/architecture.md.
