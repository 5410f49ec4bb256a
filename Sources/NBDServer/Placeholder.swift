// NBDServer: see docs/architecture.md.
