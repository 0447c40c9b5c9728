"""Benchmarks against the tools that a user would pick instead; `python -m tests.benchmarks`."""
