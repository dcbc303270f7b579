"""Decides when birth messages lead to a full republish.

A pure state machine: the session passes time and randomness in, and does the waiting. The rules:

- The first birth message leads to a full republish after a random pause: several bridges may receive it at once.
- A full republish that is under way is always completed. Otherwise birth messages that come faster than it can be
  completed would restart it for ever, and availability, its last part, would never be published.
- All birth messages until a full republish begins share it. It begins at the earliest `spacing` after the end of the
  last one, so that changes have the connection for themselves in between.
"""

from dataclasses import dataclass

__all__ = ["CHECK_EVERY", "Births"]

CHECK_EVERY = 1.0
"""Seconds between two checks whether a full republish is completed."""


@dataclass(slots=True)
class Births:
    """The birth messages of one connection.

    Attributes:
        spread: Maximum of the random pause after a birth message, in seconds.
        spacing: Minimum time between two full republishes, in seconds; accurate to a second.
    """

    spread: float
    spacing: float
    _due: float | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a birth message waits for a full republish."""
        return self._due is not None

    def received(self, now: float, chance: float) -> None:
        """Note a birth message.

        Args:
            now: The current time, in seconds of any steady clock.
            chance: A random number from 0 up to 1.
        """
        if self._due is None:
            self._due = now + chance * self.spread

    def wait(self, now: float, *, is_republishing: bool) -> float | None:
        """Return the time until the next call, in seconds; 0: republish everything now; `None`: nothing is pending."""
        if self._due is None:
            return None
        if is_republishing:
            self._due = max(self._due, now + self.spacing)
            return CHECK_EVERY
        return max(0.0, self._due - now)

    def republished(self) -> None:
        """Note that a full republish has begun."""
        self._due = None
