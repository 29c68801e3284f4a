"""Which packet numbers arrived, and when to say so.

Ranges, newest last, at most ACK_RANGES_MAX: a range that falls out was acknowledged many times; if
every one of those was lost, the sender sends the content again and it is recognised as repeated.
"""

from wangell_proto.constants import ACK_RANGES_MAX
from wangell_proto.packing import pack
from wangell_proto.wire import FrameType

__all__ = ["AckTracker"]

_ACK = int(FrameType.ACK)


class AckTracker:
    """What one link has received. Numbers come authenticated, each once."""

    __slots__ = ("_delay_s", "_largest_at", "_ranges", "_unreported", "due_at")

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._ranges: list[list[int]] = []
        self._largest_at = 0.0
        self._unreported = 0
        self.due_at: float | None = None

    def on_received(self, number: int, *, now: float, eliciting: bool, at_once: bool) -> None:
        """Note a packet; say when it asks for an acknowledgement, and how soon."""
        ranges = self._ranges
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
            self._largest_at = now
        else:
            self._insert(number, now)
        if not eliciting:
            return
        self._unreported += 1
        if at_once or self._unreported >= 2:
            self.due_at = now
        else:
            self.due_at = now + self._delay_s

    def _insert(self, number: int, now: float) -> None:
        ranges = self._ranges
        index = len(ranges)
        while index and ranges[index - 1][0] > number:
            index -= 1
        if index == len(ranges):
            self._largest_at = now
        if index < len(ranges) and ranges[index][0] == number + 1:
            ranges[index][0] = number
        elif index and ranges[index - 1][1] == number - 1:
            ranges[index - 1][1] = number
        else:
            ranges.insert(index, [number, number])
        if 0 < index < len(ranges) and ranges[index - 1][1] + 1 == ranges[index][0]:
            ranges[index - 1][1] = ranges.pop(index)[1]
        if len(ranges) > ACK_RANGES_MAX:
            del ranges[0]

    @property
    def bytes_max(self) -> int:
        """Bytes that the frame takes at most: a type, a delay, two numbers a range."""
        return 3 + 1 + 9 + 18 * len(self._ranges)

    def frame(self, now: float) -> bytes:
        """Return the ACK frame, and count everything as reported."""
        self.due_at, self._unreported = None, 0
        items = [_ACK, max(0, int((now - self._largest_at) * 1e6))]
        for low, high in reversed(self._ranges):
            items += (high, low)
        return pack(items)
