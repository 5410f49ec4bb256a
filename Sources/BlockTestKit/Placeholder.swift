// BlockTestKit: see docs/architecture.md.
