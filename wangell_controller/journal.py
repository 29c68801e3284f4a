"""Who is told the stories of services, for users to read: a log here, Events in Kubernetes."""

from typing import Protocol

from wangell_controller.backends import Trouble
from wangell_proto.vocabulary import ColdStart

__all__ = ["Journal", "NoJournal"]


class Journal(Protocol):
    """Told of what users care for. Calls return at once."""

    def woke(self, key: str, report: ColdStart) -> None:
        """A daemon has seen a cold start from its first SYN to its end."""

    def failed(self, key: str, trouble: Trouble) -> None:
        """An activation has failed."""

    def slept(self, key: str, reason: str) -> None:
        """The service went to zero."""


class NoJournal:
    """For where the log is enough."""

    def woke(self, key: str, report: ColdStart) -> None:
        """Is in the log."""

    def failed(self, key: str, trouble: Trouble) -> None:
        """Is in the log."""

    def slept(self, key: str, reason: str) -> None:
        """Is in the log."""
