// Image: see docs/architecture.md.
