"""When to connect to the broker again.

An absent broker is looked for every few seconds, so that its return is noticed soon. One that answers with a no is
asked less and less often, and a connection that does not last makes the next one wait longer. Whatever happens, there
are no more than six connections in a minute: two bridges with one client id throw each other out at once, and must not
do it in a loop.
"""

from dataclasses import dataclass, replace

__all__ = ["CONNECTIONS_PER_MINUTE", "STEADY_AFTER", "Reconnect"]

CONNECTIONS_PER_MINUTE = 6

STEADY_AFTER = 60.0
"""Seconds after which a connection was no short-lived one."""

_MINUTE = 60.0
_UNSTEADY = 3
_ABSENT_LIMIT = 5.0
_LIMIT = 30.0
_DOUBLINGS = 10  # more than any limit needs, fewer than a float can hold


@dataclass(frozen=True, slots=True)
class Reconnect:
    """What the next wait depends on; times are monotonic seconds."""

    absent: int = 0
    short_lived: int = 0
    recent: tuple[float, ...] = ()
    refused: int = 0

    @property
    def unsteady(self) -> bool:
        """Whether one connection after the other is accepted and does not last, as when two clients share an id."""
        return self.short_lived >= _UNSTEADY

    def connected(self, now: float) -> "Reconnect":
        """After the broker accepted a connection."""
        return Reconnect(0, self.short_lived, (*self.recent, now)[-CONNECTIONS_PER_MINUTE:])

    def lost(self, now: float) -> "Reconnect":
        """After an accepted connection ended."""
        lasted = now - self.recent[-1] if self.recent else 0.0
        return Reconnect(0, 0 if lasted >= STEADY_AFTER else self.short_lived + 1, self.recent)

    def failed(self, *, refused: bool = False) -> "Reconnect":
        """After an attempt that the broker did not accept; `refused` tells that there is one, and that it said so."""
        if refused:
            return replace(self, absent=0, refused=self.refused + 1)
        return replace(self, absent=self.absent + 1, refused=0)

    def wait(self, now: float, chance: float) -> float:
        """Seconds until the next attempt; `chance` is random, from 0 up to 1."""
        times = self.absent or self.refused or self.short_lived
        limit = _ABSENT_LIMIT if self.absent else _LIMIT
        bound = min(limit, 2.0 ** min(max(times - 1, 0), _DOUBLINGS))
        wait = bound * (0.5 + 0.5 * chance)
        if len(self.recent) == CONNECTIONS_PER_MINUTE:
            wait = max(wait, self.recent[0] + _MINUTE - now)
        return wait
