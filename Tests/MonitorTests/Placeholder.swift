// MonitorTests: see docs/architecture.md.
