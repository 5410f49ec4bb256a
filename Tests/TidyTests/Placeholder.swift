// TidyTests: see docs/architecture.md.
