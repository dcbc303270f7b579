"""The watchdog as a component: measures the lag of the event loop, and reports to the service manager."""

import math
from collections.abc import Callable

from evse_mqtt_bridge.observability.loop_lag import LoopLag
from evse_mqtt_bridge.service.components.component import BackgroundTask, WatchedComponent
from evse_mqtt_bridge.service.systemd import ServiceNotifier

__all__ = ["Watchdog"]


class Watchdog(WatchedComponent):
    """Feeds the service manager's watchdog while the bridge is healthy.

    Args:
        notifier: Sends the messages to the service manager.
        now: Returns monotonic seconds of the event loop.
        is_healthy: Returns whether the bridge is healthy, which is false only if a restart would help.
    """

    def __init__(self, notifier: ServiceNotifier, now: Callable[[], float], is_healthy: Callable[[], bool]) -> None:
        self.task = BackgroundTask("watchdog")
        self.loop_lag = LoopLag(now, self._feed)
        self._notifier = notifier
        self._now = now
        self._is_healthy = is_healthy
        self._fed_at = -math.inf

    async def start(self) -> None:
        """Measure the event loop."""
        self.task.start(self.loop_lag.run())

    async def stop(self) -> None:
        """Stop measuring."""
        await self.task.stop()

    def _feed(self) -> None:
        interval, now = self._notifier.watchdog_interval, self._now()
        if interval is not None and now - self._fed_at >= interval and self._is_healthy():
            self._fed_at = now
            self._notifier.feed_watchdog()
