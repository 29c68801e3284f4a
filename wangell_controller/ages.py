"""How long ago something was, in words that seldom change: each change is a status to write."""

__all__ = ["ago"]

_STEPS = (
    *((each, f"{each} s") for each in (10, 20, 30)),
    *((each * 60, f"{each} min") for each in (1, 2, 5, 10, 20, 30)),
    *((each * 3600, f"{each} h") for each in (1, 2, 5, 10, 24)),
)


def ago(seconds: float) -> str:
    """Return "over 10 s ago"; in half an hour it is another text nine times."""
    reached = [text for step, text in _STEPS if seconds >= step]
    return f"over {reached[-1]} ago" if reached else f"less than {_STEPS[0][1]} ago"
