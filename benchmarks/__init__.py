"""Benchmarks: a question each, with a budget, a machine, and both sides of a comparison."""
