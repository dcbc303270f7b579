"""Builds and reads the plain topics; outputs/homeassistant/ builds those of discovery."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from evse_mqtt_bridge.publishing.contract import BRIDGE_FIELDS, PLUG_FIELDS, STATION_FIELDS

__all__ = ["BRIDGE", "PlugTopic", "StationTopic", "Topics", "covers", "is_prefix", "matcher"]

BRIDGE = "bridge"
"""The level below the base topic for the bridge itself; no station may have it as its alias."""

_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that no broker accepts in a topic; a configuration may have had any other in its prefixes."""

_LONGEST_PREFIX = 200

_STATION_NAMES = frozenset(each.name for each in STATION_FIELDS)
_PLUG_NAMES = frozenset(each.name for each in PLUG_FIELDS)


class StationTopic(NamedTuple):
    """The parts of a station's topic: its topic id and the field."""

    station: str
    field: str


class PlugTopic(NamedTuple):
    """The parts of a plug's topic: both topic ids and the field."""

    station: str
    plug: str
    field: str


@dataclass(frozen=True)
class Topics:
    """Builds and reads the topics below `base` (one level or more, without a slash at either end).

    Ids are topic ids: an alias, else a uuid. Configuration and responses are validated before, so ids are not validated
    here. The topics of stations are those of every shard, so two objects that only differ by their shard are equal.

    Attributes:
        base: The base topic.
        shard: The shard whose own topics these are, 0 to 63. A bridge without shards has those of shard 0.
    """

    base: str
    shard: int = field(default=0, compare=False)

    def of_shard(self, shard: int) -> "Topics":
        """Return the topics of another shard."""
        return Topics(self.base, shard)

    @cached_property
    def own_prefix(self) -> str:
        """The prefix of the topics of the bridge itself, or of the shard, without a slash at the end."""
        return f"{self.base}/{BRIDGE}/{self.shard}" if self.shard else f"{self.base}/{BRIDGE}"

    @cached_property
    def availability(self) -> str:
        """The topic of the bridge's availability, and of its will."""
        return f"{self.own_prefix}/availability"

    @cached_property
    def info(self) -> str:
        """The topic of the bridge's manifest entry."""
        return f"{self.own_prefix}/info"

    @cached_property
    def marker(self) -> str:
        """The topic of the marker, which shows the bridge that it has received all retained messages."""
        return f"{self.own_prefix}/marker"

    @cached_property
    def bridge(self) -> tuple[str, ...]:
        """Every topic of the bridge itself."""
        return tuple(f"{self.own_prefix}/{each.name}" for each in BRIDGE_FIELDS)

    @cached_property
    def manifest_filter(self) -> str:
        """The subscription that yields each station's `info`, and the bridge's own."""
        return f"{self.base}/+/info"

    def member(self, name: str) -> str:
        """Return the topic of the availability of a member."""
        return f"{self._members}{name}"

    def is_of_member(self, topic: str) -> bool:
        """Return whether a topic is the availability of a member."""
        return topic.startswith(self._members) and "/" not in topic.removeprefix(self._members)

    @property
    def _members(self) -> str:
        return f"{self.base}/{BRIDGE}/members/"

    @property
    def shard_info_filters(self) -> tuple[str, ...]:
        """The subscriptions that yield the `info` of each shard."""
        return (f"{self.base}/{BRIDGE}/info", f"{self.base}/{BRIDGE}/+/info")

    @staticmethod
    def bridge_info_filters() -> list[str]:
        """Return the subscriptions to the `info` of every bridge whose base topic has one to four levels."""
        return ["/".join(["+"] * levels) + f"/{BRIDGE}/info" for levels in range(1, 5)]

    def station(self, station: str, field: str = "") -> str:
        """Return a topic of a station; without a field, the prefix of all its topics."""
        return f"{self.base}/{station}/{field}"

    def plug(self, station: str, plug: str, field: str = "") -> str:
        """Return a topic of a plug; without a field, the prefix of all its topics."""
        return f"{self.base}/{station}/{plug}/{field}"

    def read(self, topic: str) -> StationTopic | PlugTopic | None:
        """Return the parts of a topic of a station or plug; `None` for any other topic."""
        if not topic.startswith(self.base + "/"):
            return None
        levels = topic[len(self.base) + 1 :].split("/")
        if levels[0] == BRIDGE:
            return None
        match levels:
            case [station, field] if field in _STATION_NAMES:
                return StationTopic(station, field)
            case [station, plug, field] if field in _PLUG_NAMES:
                return PlugTopic(station, plug, field)
        return None


def covers(topic_filter: str, topic: str) -> bool:
    """Return whether a subscription covers a topic (MQTT 5, section 4.7, without `$` topics)."""
    filter_levels, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(filter_levels):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(filter_levels) == len(levels)


def matcher(topic_filters: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that returns whether any of these subscriptions covers a topic; faster than `covers`."""
    filters = list(topic_filters)
    topics = frozenset(each for each in filters if not set(each) & set("+#"))
    patterns = (re.escape(each) for each in filters if each not in topics)
    wild = (each.replace(r"\+", "[^/]*").replace(r"/\#", "(?:/.*)?") for each in patterns)
    pattern = re.compile("|".join(wild).replace(r"\#", ".*") or "(?!)", re.DOTALL)
    return lambda topic: topic in topics or pattern.fullmatch(topic) is not None


def is_prefix(text: str) -> bool:
    """Return whether a configuration may have had this base topic or discovery prefix, and a broker accepts it."""
    is_plain = not _UNFIT.search(text) and not set(text) & set("+#") and not text.startswith("$")
    return is_plain and all(text.split("/")) and len(text) <= _LONGEST_PREFIX
