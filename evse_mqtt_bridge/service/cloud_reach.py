"""Notices that this member of a fleet does not reach the cloud, so that members that do can poll its stations."""

from collections.abc import Callable

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.model import Failure, Reason

__all__ = ["CloudReach"]

_LIMIT = 60.0
"""Seconds during which every poll found the cloud unreachable, after which this member does not reach it."""

_FEWEST = 3
"""Number of such polls, at least."""

_RETRY_AFTER = 600.0
"""Seconds after which the member tries again with stations, because without any it cannot know."""


class CloudReach(events.Listener):
    """Listener that evaluates the polls.

    Args:
        now: Returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failures = 0
        self._failing_since = 0.0
        self._away_since: float | None = None

    @property
    def is_reached(self) -> bool:
        """Whether the cloud can be reached, as far as this member knows."""
        if self._away_since is not None and self._now() - self._away_since >= _RETRY_AFTER:
            self._failures, self._away_since = 0, None
        return self._away_since is None

    def poll_completed(self, event: events.PollCompleted) -> None:
        """Note whether the cloud answered."""
        if not isinstance(event.outcome, Failure) or event.outcome.reason is not Reason.UNREACHABLE:
            self._failures, self._away_since = 0, None
            return
        now = event.moment.monotonic
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if self._away_since is None and self._failures >= _FEWEST and now - self._failing_since >= _LIMIT:
            self._away_since = now
