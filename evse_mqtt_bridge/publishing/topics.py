"""The only place where a topic is built or read."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from evse_mqtt_bridge.publishing.contract import BRIDGE_FIELDS, PLUG_FIELDS, STATION_FIELDS

__all__ = ["BRIDGE", "PlugPlace", "StationPlace", "Topics", "covers"]

BRIDGE = "bridge"
"""The level under the base topic that is the bridge's own; no station may be called so."""

_STATION_NAMES = frozenset(field.name for field in STATION_FIELDS)
_PLUG_NAMES = frozenset(field.name for field in PLUG_FIELDS)


class StationPlace(NamedTuple):
    """Where a station's topic stands: its topic id and the field."""

    station: str
    field: str


class PlugPlace(NamedTuple):
    """Where a plug's topic stands: the two topic ids and the field."""

    station: str
    plug: str
    field: str


@dataclass(frozen=True)
class Topics:
    """Builds and reads the topics under `base` (one level or more, without a slash at either end).

    Ids are topic ids: an alias where there is one, else a uuid. They are checked where they enter (configuration,
    answers), not here.
    """

    base: str

    @cached_property
    def availability(self) -> str:
        """The bridge's availability, also its last will."""
        return f"{self.base}/{BRIDGE}/availability"

    @cached_property
    def info(self) -> str:
        """What runs here."""
        return f"{self.base}/{BRIDGE}/info"

    @cached_property
    def bridge(self) -> tuple[str, ...]:
        """Every topic of the bridge itself."""
        return tuple(f"{self.base}/{BRIDGE}/{field.name}" for field in BRIDGE_FIELDS)

    @cached_property
    def manifest_filter(self) -> str:
        """The subscription that yields each station's `info`, and the bridge's own."""
        return f"{self.base}/+/info"

    @staticmethod
    def bridge_info_filters() -> list[str]:
        """Subscriptions that yield the `info` of every bridge whose base has one to four levels."""
        return ["/".join(["+"] * levels) + f"/{BRIDGE}/info" for levels in range(1, 5)]

    def station(self, station: str, field: str = "") -> str:
        """A station's topic, or with no field the prefix of all of them."""
        return f"{self.base}/{station}/{field}"

    def plug(self, station: str, plug: str, field: str = "") -> str:
        """A plug's topic, or with no field the prefix of all of them."""
        return f"{self.base}/{station}/{plug}/{field}"

    def read(self, topic: str) -> StationPlace | PlugPlace | None:
        """Where a topic stands in the contract; `None` for one that is not of it, or is the bridge's own."""
        if not topic.startswith(self.base + "/"):
            return None
        levels = topic[len(self.base) + 1 :].split("/")
        if levels[0] == BRIDGE:
            return None
        match levels:
            case [station, field] if field in _STATION_NAMES:
                return StationPlace(station, field)
            case [station, plug, field] if field in _PLUG_NAMES:
                return PlugPlace(station, plug, field)
        return None


def covers(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT subscription covers a topic (MQTT 5, section 4.7, without `$` topics)."""
    wanted, got = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(got) or level not in ("+", got[index]):
            return False
    return len(wanted) == len(got)
