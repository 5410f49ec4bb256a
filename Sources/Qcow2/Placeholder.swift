// Qcow2: see docs/architecture.md.
