// ImageTests: see docs/architecture.md.
