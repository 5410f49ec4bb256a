// Filters: see docs/architecture.md.
