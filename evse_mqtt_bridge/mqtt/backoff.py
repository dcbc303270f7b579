"""Decides when to react to something that others cause, so that it cannot become a fight, and floods cost little."""

from dataclasses import dataclass

__all__ = ["Backoff"]

_QUIET = 60.0
"""Minimum length of a quiet time, in seconds."""


@dataclass(slots=True)
class Backoff:
    """A pause before each reaction. It doubles with each one, and is back at its minimum after a quiet time.

    The quiet time is twice the pause, or a minute: an opponent with the same rules reacts sooner.

    Attributes:
        shortest: The minimum pause, in seconds: further causes that come meanwhile share the reaction.
        longest: The maximum pause, in seconds.
    """

    shortest: float
    longest: float
    _pause: float = 0.0
    _due: float | None = None
    _reacted_at: float = 0.0

    @property
    def is_due(self) -> bool:
        """Whether there is a cause."""
        return self._due is not None

    def noticed(self, now: float) -> None:
        """Note a cause, at a time in seconds of any steady clock."""
        if self._due is not None:
            return
        if not self._pause or now - self._reacted_at > max(2 * self._pause, _QUIET):
            self._pause = self.shortest
        self._due = now + self._pause

    def wait(self, now: float) -> float | None:
        """Return the time until the reaction, in seconds; 0: react now; `None`: there is no cause."""
        return None if self._due is None else max(0.0, self._due - now)

    def reacted(self, now: float) -> None:
        """Note that the reaction is done."""
        self._due, self._reacted_at = None, now
        self._pause = min(2 * self._pause, self.longest)

    def dropped(self) -> None:
        """Note that there was no reason to react."""
        self._due = None
