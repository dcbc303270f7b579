"""An event loop whose time does not pass: it jumps to whatever is to happen next, so that a day takes milliseconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import TypeVar

__all__ = ["VirtualTimeLoop", "run"]

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Instead of waiting for its timeout, it lets the time be over."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is going to happen any more")
        self.now += timeout
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 1000 and jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(work: Coroutine[object, object, T]) -> T:
    """`asyncio.run` on virtual time; the first moment is 1000."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
