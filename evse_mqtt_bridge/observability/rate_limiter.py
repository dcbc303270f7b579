"""Limits how many log lines pass per minute, and counts the suppressed ones."""

from dataclasses import dataclass

__all__ = ["RateLimiter"]

_MINUTE = 60.0


@dataclass(slots=True)
class RateLimiter:
    """Allows `limit` lines per minute and counts the rest. All times are monotonic seconds."""

    limit: int
    _minute_began: float = 0.0
    _passed: int = 0
    _suppressed: int = 0

    def allows(self, now: float) -> bool:
        """Return whether one more line may be written, and count it as suppressed if not."""
        if now - self._minute_began >= _MINUTE and not self._suppressed:
            self._begin_minute(now)
        if self._passed < self.limit:
            self._passed += 1
            return True
        self._suppressed += 1
        return False

    def pop_suppressed(self, now: float) -> int:
        """Return how many lines were suppressed, once their minute is over. Then the next minute begins."""
        if now - self._minute_began < _MINUTE or not self._suppressed:
            return 0
        suppressed, self._suppressed = self._suppressed, 0
        self._begin_minute(now)
        return suppressed

    def _begin_minute(self, now: float) -> None:
        self._minute_began, self._passed = now, 0
