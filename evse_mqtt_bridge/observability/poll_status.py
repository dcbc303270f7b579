"""Tracks when the last poll completed, for the health check."""

from collections.abc import Callable

from evse_mqtt_bridge.domain import events

__all__ = ["PollStatus"]


class PollStatus(events.Listener):
    """Listener that tracks when the last poll completed.

    Args:
        now: Returns monotonic seconds.

    Attributes:
        last_poll: When the last poll completed, in monotonic seconds; before the first one, when the bridge started.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.last_poll = now()

    def poll_completed(self, event: events.PollCompleted) -> None:
        """Store the time."""
        self.last_poll = event.moment.monotonic
