// HostIO: see docs/architecture.md.
