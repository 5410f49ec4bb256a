// NBDWire: see docs/architecture.md.
