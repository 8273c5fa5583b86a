"""Benchmark this package, the original and transformers' SamHQModel side by side; see docs/performance.md."""
