// Qcow2Tests: see docs/architecture.md.
