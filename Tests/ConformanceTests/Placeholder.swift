// ConformanceTests: see docs/architecture.md.
