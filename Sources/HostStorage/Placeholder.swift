// HostStorage: see docs/architecture.md.
