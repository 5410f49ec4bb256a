// CodecsTests: see docs/architecture.md.
