"""The messages that the broker has not acknowledged yet: whether there is room for another, and which are suspects.

No I/O and no clock. At QoS 0 nothing is acknowledged, so a message counts as handled once the socket has taken it.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import repeat

from evse_mqtt_bridge.mqtt.limits import WINDOW_QOS_0, Limits

__all__ = ["ACKNOWLEDGE_LIMIT", "RECENT", "InFlight"]

ACKNOWLEDGE_LIMIT = 60.0
"""Seconds without any acknowledgement after which a connection is dropped, even if the broker answers pings."""

RECENT = 2.0
"""Seconds in which a message at QoS 0 may be the one at which the broker closes the connection."""


class InFlight:
    """The unacknowledged messages of one connection, by packet identifier.

    Args:
        limits: The limits of the connection.
        now: The present time of a monotonic clock, in seconds, as in all methods.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._topics: dict[int, str] = {}
        self._alone: int | None = None
        self._barrier: int | None = None
        self._recent: deque[tuple[float, str]] = deque(maxlen=WINDOW_QOS_0)
        self._progress = now

    def __len__(self) -> int:
        return len(self._topics)

    @property
    def room(self) -> int:
        """The number of messages that may be sent now."""
        return max(0, self._limits.window - len(self._topics)) if self._alone is None else 0

    def add(self, topics: Mapping[int, str], now: float) -> None:
        """Add messages that were sent: their topics by packet identifier."""
        if not self._topics:
            self._progress = now
        self._topics |= topics
        if self._limits.qos == 0:
            self._recent.extend(zip(repeat(now), topics.values(), strict=False))

    def add_alone(self, identifier: int, topic: str, barrier: int | None, now: float) -> None:
        """Add a message that was sent while none was in flight; there is no room until the broker has handled it.

        Args:
            identifier: The packet identifier of the message.
            topic: The topic of the message.
            barrier: At QoS 0, the packet identifier of the UNSUBSCRIBE whose answer shows that it was handled.
            now: The present time.
        """
        self._progress = now
        self._topics[identifier] = topic
        self._alone, self._barrier = identifier, barrier
        self._recent.clear()

    def made_progress(self, now: float) -> None:
        """Note that the broker has handled something."""
        self._progress = now

    def acknowledge(self, identifier: int) -> str | None:
        """Remove an acknowledged message; return its topic, `None` if it is unknown."""
        if identifier == self._alone:
            self._alone = None
        return self._topics.pop(identifier, None)

    def accept(self, identifiers: Iterable[int]) -> None:
        """Remove messages that the broker accepted; unknown identifiers are ignored."""
        topics = self._topics
        for identifier in identifiers:
            topics.pop(identifier, None)
        if self._alone not in topics:
            self._alone = None

    def pass_barrier(self, identifier: int) -> bool:
        """Remove the message that was sent alone if `identifier` is its barrier's; return whether it is."""
        if self._alone is None or identifier != self._barrier:
            return False
        self.acknowledge(self._alone)
        return True

    def written(self) -> bool:
        """Remove what the socket has taken, at QoS 0; return whether that makes room."""
        if self._limits.qos or self._alone is not None or not self._topics:
            return False
        self._topics.clear()
        return True

    def topics(self, now: float) -> list[str]:
        """Return the topics of the messages, in the order of publishing; at QoS 0, those of the last `RECENT` s."""
        since = now - RECENT
        return list(dict.fromkeys([*(topic for at, topic in self._recent if at >= since), *self._topics.values()]))

    def is_stalled(self, now: float) -> bool:
        """Whether the broker has acknowledged nothing for `ACKNOWLEDGE_LIMIT` s, although messages are in flight."""
        return bool(self._topics) and now - self._progress > ACKNOWLEDGE_LIMIT
