"""What the kernel is told of one service: its frontends, their verdict, and the handover.

Each method returns the effects that bring the kernel there from where it is; none if it is there.
"""

from wangell_daemon.effects import (
    Effect,
    EndHandOver,
    ForgetFrontends,
    HandOver,
    Mode,
    SetMode,
)

__all__ = ["Routing"]


class Routing:
    """One service's. `slot` is its place in the kernel's activity array."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.frontends: tuple[bytes, ...] = ()
        self._mode: Mode | None = None
        self._handed_to: tuple[str, int, bool] | None = None

    def move(self, frontends: tuple[bytes, ...]) -> list[Effect]:
        """Callers use these frontends now. A verdict and a handover have to be given anew."""
        if frontends == self.frontends:
            return []
        ended = self.end_hand_over()
        gone = tuple(each for each in self.frontends if each not in frontends)
        self.frontends, self._mode = frontends, None
        return [*ended, ForgetFrontends(gone)] if gone else ended

    def readdress(self, frontends: tuple[bytes, ...]) -> list[Effect]:
        """Callers use these now, and meet at each what they met at the others."""
        mode, handed_to = self._mode, self._handed_to
        effects = self.move(frontends)
        if mode is not None:
            effects += self.set_mode(mode)
        if handed_to is not None:
            address, port, is_away = handed_to
            effects += self.hand_over(address, port, is_away=is_away)
        return effects

    def set_mode(self, mode: Mode) -> list[Effect]:
        """SYNs meet this from now on."""
        if mode is self._mode:
            return []
        self._mode = mode
        return [SetMode(self.frontends, self.slot, mode)]

    def hand_over(self, address: str, port: int, *, is_away: bool) -> list[Effect]:
        """New connections go to this replica from now on."""
        if (address, port, is_away) == self._handed_to:
            return []
        self._handed_to = address, port, is_away
        return [HandOver(self.frontends, address, port, is_away)]

    def end_hand_over(self) -> list[Effect]:
        """The node's own proxy has them, or the replica is going."""
        if self._handed_to is None:
            return []
        self._handed_to = None
        return [EndHandOver(self.frontends)]

    def forget(self) -> list[Effect]:
        """The service is no more."""
        return [*self.end_hand_over(), ForgetFrontends(self.frontends)]
