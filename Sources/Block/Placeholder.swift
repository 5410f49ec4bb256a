// Block: see docs/architecture.md.
