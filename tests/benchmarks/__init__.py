"""Comparison with the tools that a user could use instead; `python -m tests.benchmarks`."""
