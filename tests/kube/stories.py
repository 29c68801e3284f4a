"""Tells a story in a house, in virtual time."""

from collections.abc import Callable, Coroutine
from typing import Any

from tests.kube import virtual_time
from tests.kube.house import KubeHouse

__all__ = ["story"]

Body = Callable[[KubeHouse], Coroutine[Any, Any, None]]


def story(body: Body) -> Callable[[], None]:
    """Make a test of a coroutine that is given a new house."""

    async def told() -> None:
        house = KubeHouse()
        await body(house)
        await house.end()

    def test() -> None:
        virtual_time.run(told())

    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test
