"""BCC raises bare Exception with a string, the kernel an errno: both become one of these."""

__all__ = ["DatapathError", "ForeignProgramError"]


class DatapathError(RuntimeError):
    """The kernel or BCC refused. The message says what to do about it."""


class ForeignProgramError(DatapathError):
    """Somebody else's XDP program is attached to the interface."""
