"""The subscriptions that the session makes for the publication."""

from dataclasses import dataclass
from typing import Self

from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["TOPICS_AT_ONCE", "Subscriptions"]

TOPICS_AT_ONCE = 500
"""Maximum number of topics to read at once that did not arrive with a filter for all of them. Mosquitto drops messages
above `max_queued_messages`, which is 1000 by default."""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Topic filters to subscribe to.

    Attributes:
        lasting: Filters of subscriptions that last as long as the connection.
        retained: Filters of subscriptions that end when the broker has delivered the retained messages.
    """

    lasting: tuple[str, ...]
    retained: tuple[str, ...]

    @classmethod
    def of(cls, filters: tuple[str, ...], lasting: tuple[str, ...] = ()) -> Self:
        """Return subscriptions of which those to the `info` of any bridge last: another one may start later."""
        infos = Topics.bridge_info_filters()
        search = tuple(each for each in filters if each in infos)
        return cls((*lasting, *search), tuple(each for each in filters if each not in infos))
