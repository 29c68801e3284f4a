"""What the lab says when it cannot go on."""

__all__ = ["LabError"]


class LabError(Exception):
    """What went wrong and what to do about it, in words for the user."""
