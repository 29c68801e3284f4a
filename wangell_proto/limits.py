"""Checks of what the application wants to send, the same on both sides."""

from wangell_proto.constants import MESSAGE_BYTES_MAX, WAKE_BYTES_MAX
from wangell_proto.errors import LocalProtocolError
from wangell_proto.events import Lane

__all__ = ["check_message"]


def check_message(body: bytes, lane: Lane) -> None:
    """Raise LocalProtocolError where a message is longer than its lane takes."""
    limit = WAKE_BYTES_MAX if lane is Lane.WAKE else MESSAGE_BYTES_MAX
    if len(body) > limit:
        raise LocalProtocolError(
            f"a message of lane {lane.name} has at most {limit} bytes, not {len(body)}"
        )
