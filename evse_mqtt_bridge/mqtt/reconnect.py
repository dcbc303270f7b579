"""Decides when to reconnect to the broker.

The bridge retries an unreachable broker every few seconds, so that it reconnects soon after the broker returns. It
retries a broker that rejects the connection at growing intervals, and waits longer after a short-lived connection. It
never connects more than six times a minute: two bridges with one client id disconnect each other at once, and must not
do so in a tight loop.
"""

from dataclasses import dataclass, replace

from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.errors import Disconnected

__all__ = ["CONNECTIONS_PER_MINUTE", "STEADY_AFTER", "Reconnect", "in_context"]

CONNECTIONS_PER_MINUTE = 6

STEADY_AFTER = 60.0
"""Seconds after which a connection no longer counts as short-lived."""

_MINUTE = 60.0
_UNSTEADY = 3
_ABSENT_LIMIT = 5.0
_LIMIT = 30.0
_DOUBLINGS = 10  # more than any limit needs, fewer than a float can hold


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The inputs of the next wait.

    Attributes:
        absent_attempts: Number of failed attempts in a row.
        short_lived: Number of accepted connections in a row that did not last.
        recent: When the last connections were accepted, in monotonic seconds.
        refused_attempts: Number of rejected attempts in a row.
    """

    absent_attempts: int = 0
    short_lived: int = 0
    recent: tuple[float, ...] = ()
    refused_attempts: int = 0

    @property
    def unsteady(self) -> bool:
        """Whether several accepted connections in a row did not last, as when two clients share an id."""
        return self.short_lived >= _UNSTEADY

    def connected(self, now: float) -> "Reconnect":
        """Return the state after the broker accepted a connection."""
        return Reconnect(0, self.short_lived, (*self.recent, now)[-CONNECTIONS_PER_MINUTE:])

    def lost(self, now: float) -> "Reconnect":
        """Return the state after an accepted connection ended."""
        lasted = now - self.recent[-1] if self.recent else 0.0
        return Reconnect(0, 0 if lasted >= STEADY_AFTER else self.short_lived + 1, self.recent)

    def failed(self, *, refused: bool = False) -> "Reconnect":
        """Return the state after a failed attempt; `refused`: the broker rejected the connection."""
        if refused:
            return replace(self, absent_attempts=0, refused_attempts=self.refused_attempts + 1)
        return replace(self, absent_attempts=self.absent_attempts + 1, refused_attempts=0)

    def wait(self, now: float, chance: float) -> float:
        """Return the seconds until the next attempt; `chance` is a random number from 0 up to 1."""
        attempts = self.absent_attempts or self.refused_attempts or self.short_lived
        limit = _ABSENT_LIMIT if self.absent_attempts else _LIMIT
        bound = min(limit, 2.0 ** min(max(attempts - 1, 0), _DOUBLINGS))
        wait = bound * (0.5 + 0.5 * chance)
        if len(self.recent) == CONNECTIONS_PER_MINUTE:
            wait = max(wait, self.recent[0] + _MINUTE - now)
        return wait


def in_context(disconnected: Disconnected, state: Reconnect) -> Disconnected:
    """Return why a connection ended, in view of the previous connections.

    Not every broker reports that another client took over a client id (with MQTT 3.1.1 none can). Such a report may
    also refer to an earlier attempt of this bridge itself, which a busy broker handled late.
    """
    match disconnected.reason:
        case DisconnectReason.LOST if state.unsteady and not disconnected.has_cause:
            return replace(disconnected, reason=DisconnectReason.UNSTEADY)
        case DisconnectReason.TAKEN_OVER if state.short_lived <= 1:
            return replace(disconnected, reason=DisconnectReason.LOST)
    return disconnected
