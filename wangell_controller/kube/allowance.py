"""How often each of many may do something: so many at once, then one in a while. Pure."""

__all__ = ["Allowance"]


class Allowance:
    """Token buckets by name; one that is full again is forgotten. Times are seconds."""

    def __init__(self, *, burst: int, refill_s: float) -> None:
        """`burst` at once, and one more every `refill_s`."""
        self._burst = burst
        self._refill_s = refill_s
        self._full_at: dict[str, float] = {}

    def take(self, name: str, *, now: float) -> bool:
        """Return whether it may do it now, and count that it does."""
        for full in [each for each, at in self._full_at.items() if at <= now]:
            del self._full_at[full]
        full_at = self._full_at.get(name, now) + self._refill_s
        if full_at - now > self._burst * self._refill_s:
            return False
        self._full_at[name] = full_at
        return True
