"""Reads the meters of a previous run from the retained topics of the plugs in the manifest.

A meter that is not read would start at 0. A broker may drop some of thousands of retained messages that it delivers at
once, so the topics that have not arrived are read again, a few at a time. If none has arrived, the broker does not
allow to read them, or does not deliver them to filters with wildcards.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from evse_mqtt_bridge.domain.meter import Meter, larger
from evse_mqtt_bridge.publishing.manifest import StationEntry
from evse_mqtt_bridge.publishing.meter_payload import last_session_of_topic, meter_of_state
from evse_mqtt_bridge.publishing.subscriptions import TOPICS_AT_ONCE

__all__ = ["MeterReader"]

_STATE, _LAST_SESSION = "state", "last_session"


class MeterReader:
    """Collects the meters of the plugs in manifest entries, also of plugs whose alias has changed since.

    Args:
        proven: The entries of this bridge.
        unproven: Entries that anybody may have written. Their meters count only for plugs that no other entry has.
        is_part: Whether the entries are those of one shard of several, so that wildcards would yield mostly others.
    """

    def __init__(
        self, proven: Iterable[StationEntry], unproven: Iterable[StationEntry] = (), *, is_part: bool = False
    ) -> None:
        self._is_part = is_part
        self._topics: dict[str, tuple[str, str, str]] = {}
        """Station uuid, plug uuid and kind of each topic to read."""
        self._meters: dict[str, dict[str, Meter]] = {}
        self._arrived: set[str] = set()
        self._missing = {kind: self._not_arrived(kind) for kind in (_STATE, _LAST_SESSION)}
        self._bases: dict[str, None] = {}
        known: set[tuple[str, str]] = set()
        for entry in proven:
            known.update((entry.uuid, plug) for plug in entry.plugs)
            self._add(entry, entry.plugs)
        for entry in unproven:
            self._add(entry, [plug for plug in entry.plugs if (entry.uuid, plug) not in known])

    def _add(self, entry: StationEntry, plugs: Iterable[str]) -> None:
        for uuid in plugs:
            self._bases[entry.topics.base] = None
            for kind in (_STATE, _LAST_SESSION):
                self._topics[entry.topics.plug(entry.topic_id, entry.plugs[uuid], kind)] = (entry.uuid, uuid, kind)

    @property
    def filters(self) -> tuple[str, ...]:
        """The subscriptions to the topics."""
        if self._is_part:
            return tuple(self._topics)
        return tuple(f"{base}/+/+/{kind}" for base in self._bases for kind in (_STATE, _LAST_SESSION))

    def next_missing(self) -> tuple[str, ...]:
        """Return the next topics to read because they have not arrived, each once; none if there are no others."""
        if not self._arrived:
            return ()
        states = tuple(islice(self._missing[_STATE], TOPICS_AT_ONCE))
        return states or tuple(islice(self._missing[_LAST_SESSION], TOPICS_AT_ONCE))

    def _not_arrived(self, kind: str) -> Iterator[str]:
        """Yield the topics that have not arrived. A run that published no meter published no `last_session` either."""
        for topic, (station, plug, topic_kind) in self._topics.items():
            is_published = kind == _STATE or plug in self._meters.get(station, ())
            if topic_kind == kind and is_published and topic not in self._arrived:
                yield topic

    @property
    def meters(self) -> dict[str, dict[str, Meter]]:
        """The meters by station uuid and plug uuid."""
        return self._meters

    def received(self, topic: str, payload: bytes) -> None:
        """Read a retained message; one of any other topic, or without a meter, is ignored."""
        if topic not in self._topics:
            return
        self._arrived.add(topic)
        station, plug, kind = self._topics[topic]
        if kind == _STATE:
            meter = meter_of_state(plug, payload)
        else:
            last_session = last_session_of_topic(payload)
            meter = Meter(last_session=last_session) if last_session else None
        if meter is not None:
            meters = self._meters.setdefault(station, {})
            meters[plug] = larger(meters[plug], meter) if plug in meters else meter
