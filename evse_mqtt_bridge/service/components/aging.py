"""Aging as a component: publishes which values become too old between polls."""

import asyncio
from collections.abc import Callable

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.service.components.component import BackgroundTask, WatchedComponent

__all__ = ["Aging"]

_PAUSE = 0.5
"""Seconds between two rounds. Together with the slots of a second, a value is at most 1.5 s too old."""

_BATCH = 100
"""Maximum number of stations per step of the event loop: thousands may become stale in the same second."""


class Aging(WatchedComponent):
    """Calls `age` for batches of stations while stations are due, and twice per second otherwise.

    Args:
        clock: The sources of time.
        age: Evaluates at most a number of stations at a moment; returns whether there are more.
    """

    def __init__(self, clock: Clock, age: Callable[[Moment, int], bool]) -> None:
        self.task = BackgroundTask("aging")
        self._clock = clock
        self._age = age

    async def start(self) -> None:
        """Evaluate the age of values from now on."""
        self.task.start(self._run())

    async def stop(self) -> None:
        """Stop evaluating."""
        await self.task.stop()

    async def _run(self) -> None:
        while True:
            has_more = self._age(Moment(self._clock.monotonic(), self._clock.utc()), _BATCH)
            await asyncio.sleep(0 if has_more else _PAUSE)
