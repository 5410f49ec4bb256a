// Codecs: see docs/architecture.md.
