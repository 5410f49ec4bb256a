// HostIOTests: see docs/architecture.md.
