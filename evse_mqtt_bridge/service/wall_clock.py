"""The time of day, and by how much the clock was set: at the start of a machine without a battery for it, or later.

The bridge records when things happened. A time is wrong if the clock was wrong when it was recorded. So every change of
the clock is reported before the first time by the new clock is returned, and the recorded times are corrected by it.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

__all__ = ["WallClock"]

_TOLERANCE = 2.0
"""Difference in seconds that counts as a change. Time servers adjust a clock by less than that in one step."""


_elapsed = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Returns seconds that nobody can set; on Linux, they include the time in which the machine was suspended."""


class WallClock:
    """Returns the time of day when it is called.

    Args:
        now: Returns the time of day in seconds since 1970 (UTC).
        elapsed: Returns seconds since any fixed moment.
    """

    def __init__(self, now: Callable[[], float] = time.time, elapsed: Callable[[], float] = _elapsed) -> None:
        self.on_change: Callable[[timedelta], None] = lambda _shift: None
        """Called with the difference by which the clock was set, before the first time by the new clock is returned."""
        self._now = now
        self._elapsed = elapsed
        self._offset = now() - elapsed()

    def __call__(self) -> datetime:
        """Return the time of day in UTC."""
        now = self._now()
        offset = now - self._elapsed()
        shift = offset - self._offset
        if abs(shift) > _TOLERANCE:
            self._offset = offset
            self.on_change(timedelta(seconds=shift))
        return datetime.fromtimestamp(now, UTC)
