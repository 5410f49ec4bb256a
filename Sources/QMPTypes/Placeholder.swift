// QMPTypes: see docs/architecture.md.
