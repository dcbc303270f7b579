"""Measures the lag of the event loop."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import NoReturn

__all__ = ["SAMPLE_INTERVAL", "WINDOW", "LoopLag"]

SAMPLE_INTERVAL = 0.5
"""Seconds between two samples."""

WINDOW = 60.0
"""Seconds for which samples count."""


class LoopLag:
    """Samples how late the event loop wakes up.

    Args:
        now: Returns the loop's monotonic seconds.
        on_sample: Called after each sample.
    """

    def __init__(self, now: Callable[[], float], on_sample: Callable[[], None] = lambda: None) -> None:
        self._now = now
        self._on_sample = on_sample
        self._due = math.inf
        self._lags: deque[float] = deque(maxlen=round(WINDOW / SAMPLE_INTERVAL))

    async def run(self) -> NoReturn:
        """Sample until cancelled."""
        while True:
            self._due = self._now() + SAMPLE_INTERVAL
            await asyncio.sleep(SAMPLE_INTERVAL)
            self._lags.append(max(0.0, self._now() - self._due))
            self._on_sample()

    @property
    def worst(self) -> float:
        """The longest lag within the window in seconds, including that of an overdue sample."""
        return max(self._now() - self._due, max(self._lags, default=0.0), 0.0)
