// Monitor: see docs/architecture.md.
