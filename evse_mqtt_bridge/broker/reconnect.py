"""When to connect to the broker again.

An absent broker is looked for every few seconds, so that its return is noticed soon. A connection that does not last
makes the next one wait longer, and whatever happens, there are no more than six connections in a minute: two bridges
with one client id throw each other out at once, and must not do it in a loop.
"""

from dataclasses import dataclass

__all__ = ["CONNECTIONS_PER_MINUTE", "Reconnect"]

CONNECTIONS_PER_MINUTE = 6

_MINUTE = 60.0
_ABSENT_LIMIT = 5.0
_SHORT_LIVED_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Reconnect:
    """What the next wait depends on; times are monotonic seconds."""

    absent: int = 0
    short_lived: int = 0
    recent: tuple[float, ...] = ()

    def connected(self, now: float) -> "Reconnect":
        """After the broker accepted a connection."""
        return Reconnect(0, self.short_lived, (*self.recent, now)[-CONNECTIONS_PER_MINUTE:])

    def lost(self, now: float) -> "Reconnect":
        """After an accepted connection ended."""
        lasted = now - self.recent[-1] if self.recent else 0.0
        return Reconnect(0, 0 if lasted >= _MINUTE else self.short_lived + 1, self.recent)

    def failed(self) -> "Reconnect":
        """After an attempt that the broker did not accept."""
        return Reconnect(self.absent + 1, self.short_lived, self.recent)

    def wait(self, now: float, chance: float) -> float:
        """Seconds until the next attempt; `chance` is random, from 0 up to 1."""
        if self.absent:
            bound = min(_ABSENT_LIMIT, 2.0 ** (self.absent - 1))
        else:
            bound = min(_SHORT_LIVED_LIMIT, 2.0 ** max(0, self.short_lived - 1))
        wait = bound * (0.5 + 0.5 * chance)
        if len(self.recent) == CONNECTIONS_PER_MINUTE:
            wait = max(wait, self.recent[0] + _MINUTE - now)
        return wait
