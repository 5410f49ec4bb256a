// Daemon: see docs/architecture.md.
