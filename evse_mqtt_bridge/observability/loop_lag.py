"""Feels the pulse of the event loop: how late it is, which is how long something held it up."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

__all__ = ["BEAT", "REMEMBERED", "LoopLag"]

BEAT = 0.5
"""Seconds between two beats."""

REMEMBERED = 60.0
"""Seconds for which it is remembered how late the beats were."""


@dataclass(slots=True)
class LoopLag:
    """Beats on the event loop; `now` is the loop's monotonic seconds, `on_beat` is called with each."""

    now: Callable[[], float]
    on_beat: Callable[[], None] = lambda: None
    _due: float = math.inf
    _lags: deque[float] = field(default_factory=lambda: deque(maxlen=round(REMEMBERED / BEAT)))

    async def run(self) -> NoReturn:
        """Beat until cancelled."""
        while True:
            self._due = self.now() + BEAT
            await asyncio.sleep(BEAT)
            self._lags.append(max(0.0, self.now() - self._due))
            self.on_beat()

    @property
    def worst(self) -> float:
        """Seconds by which the latest of the last minute's beats was late, the one that is due included."""
        return max(self.now() - self._due, max(self._lags, default=0.0), 0.0)
