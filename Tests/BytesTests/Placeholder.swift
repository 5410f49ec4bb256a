// BytesTests: see docs/architecture.md.
