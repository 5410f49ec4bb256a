// NBDServerTests: see docs/architecture.md.
