// NBDWireTests: see docs/architecture.md.
