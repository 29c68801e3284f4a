"""What the benchmark says when it cannot go on."""

__all__ = ["BenchmarkError"]


class BenchmarkError(Exception):
    """What went wrong and what to do about it, in words for the user."""
