"""An event loop on virtual time: instead of waiting, its clock jumps to the next event, so a day takes milliseconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import TypeVar

__all__ = ["VirtualTimeLoop", "run"]

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Advances the clock by the timeout instead of waiting."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: no event is scheduled")
        self.now += timeout
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 1000 and jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(main: Coroutine[object, object, T]) -> T:
    """Run a coroutine like `asyncio.run`, on virtual time, which starts at 1000 s."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
