// QAPI: see docs/architecture.md.
