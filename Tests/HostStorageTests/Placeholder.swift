// HostStorageTests: see docs/architecture.md.
