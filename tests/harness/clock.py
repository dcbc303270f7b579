"""A clock that only advances when a test advances it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["Clock"]


@dataclass(slots=True)
class Clock:
    """A monotonic clock and the time of day, which advance together; callable like `time.monotonic`."""

    monotonic: float = 1000.0
    started: datetime = datetime(2024, 3, 25, 11, 12, 20, tzinfo=UTC)
    _origin: float = 1000.0

    def __call__(self) -> float:
        return self.monotonic

    def advance(self, seconds: float) -> float:
        """Advance both by `seconds` and return the new monotonic time."""
        self.monotonic += seconds
        return self.monotonic

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return self.started + timedelta(seconds=self.monotonic - self._origin)
