"""State -> messages: what changed between two states of a station, and everything that is known of one.

Payloads are plain: numbers in their shortest decimal form, lower-case booleans, UTF-8 text, times in UTC with `Z`.
What has no value is not published; `state` says `null` for it. An empty text has no topic of its own either, since an
empty retained payload would delete it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from evse_mqtt_bridge.domain.model import Message, PlugState, Reason, Station, StationState, same_values
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION, READING_FIELDS
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = [
    "BridgeInfo",
    "availability",
    "bridge_availability",
    "bridge_info",
    "changes",
    "clear",
    "has_changes",
    "number",
    "plug_state",
    "station_info",
    "timestamp",
    "values",
]

_TIME = "time"
_VALUES = tuple(field for field in READING_FIELDS if field.name != _TIME)

_quoted = json.JSONEncoder(ensure_ascii=False).encode
"""A text as JSON, by an encoder that is made once: each poll that brings news has several."""


def has_changes(old: StationState, new: StationState) -> bool:
    """Whether a broker that shows `old` must be told anything to show `new`: most polls bring none.

    `new` is what `advance` or `age` made of `old`, by way of other states or not: both move
    `last_published_at` on wherever a value changes.
    """
    if new.reason is not old.reason or len(new.plugs) != len(old.plugs):
        return True
    for uuid, plug in new.plugs.items():  # a loop, since this is asked for each poll
        before = old.plugs.get(uuid)
        if before is None or plug.last_published_at != before.last_published_at or plug.reason is not before.reason:
            return True
    return False


def changes(topics: Topics, station: Station, old: StationState, new: StationState) -> Iterator[Message]:
    """What must be published so that the broker shows `new` where it showed `old`.

    Discovery, `info` and the topics of a plug that went are not part of it: they depend on more than the state.
    """
    for uuid, plug in new.plugs.items():
        before = old.plugs.get(uuid)
        if before is not plug:
            yield from _plug_values(topics.plug(station.topic_id, station.plugs.get(uuid, uuid)), before, plug)
    for uuid, plug in new.plugs.items():
        before = old.plugs.get(uuid)
        if plug.reason is not None and (before is None or plug.reason is not before.reason):
            yield from _availability(topics.plug(station.topic_id, station.plugs.get(uuid, uuid)), plug.reason)
    if new.reason is not None and new.reason is not old.reason:
        yield from _availability(topics.station(station.topic_id), new.reason)


def values(topics: Topics, station: Station, state: StationState) -> Iterator[Message]:
    """Every value of a station's plugs, without availability."""
    for uuid, plug in state.plugs.items():
        yield from _plug_values(topics.plug(station.topic_id, station.plugs.get(uuid, uuid)), None, plug)


def availability(topics: Topics, station: Station, state: StationState) -> Iterator[Message]:
    """The availability of a station and its plugs, as far as it is told."""
    for uuid, plug in state.plugs.items():
        if plug.reason is not None:
            yield from _availability(topics.plug(station.topic_id, station.plugs.get(uuid, uuid)), plug.reason)
    if state.reason is not None:
        yield from _availability(topics.station(station.topic_id), state.reason)


def station_info(
    topics: Topics, station: Station, state: StationState, owner: str, discovery: Mapping[str, str] | None
) -> Message:
    """A station's `info`: who it is, its plugs, and what `owner` (a client id) published for it.

    This is also the bridge's memory on the broker: from it a later run knows what to clear (core/ledger.py).
    """
    content = {
        "uuid": station.uuid,
        "name": station.title,
        "plugs": {
            uuid: {"topic": station.plugs.get(uuid, uuid), "label": plug.label} for uuid, plug in state.plugs.items()
        },
        "published_by": owner,
        "contract": CONTRACT_VERSION,
        "discovery": dict(discovery) if discovery else None,
    }
    return Message(topics.station(station.topic_id, "info"), _dump(content), json=True)


@dataclass(frozen=True, slots=True)
class BridgeInfo:
    """What `bridge/info` tells; `started` in UTC."""

    version: str
    client_id: str
    started: datetime
    stations: int
    discovery: Mapping[str, str] | None


def bridge_availability(topics: Topics, *, online: bool) -> Message:
    """The bridge's availability; `offline` is also its last will."""
    return Message(topics.availability, b"online" if online else b"offline")


def bridge_info(topics: Topics, info: BridgeInfo) -> Message:
    """The bridge's `info`."""
    content = {
        "name": "evse-mqtt-bridge",
        "version": info.version,
        "contract": CONTRACT_VERSION,
        "client_id": info.client_id,
        "base_topic": topics.base,
        "started": timestamp(info.started),
        "stations": info.stations,
        "discovery": dict(info.discovery) if info.discovery else None,
    }
    return Message(topics.info, _dump(content), json=True)


def clear(topics: Iterable[str]) -> Iterator[Message]:
    """Messages that delete retained topics."""
    return (Message(topic, b"") for topic in topics)


def plug_state(plug: PlugState) -> bytes:
    """The `state` object of a plug, as JSON; the keys are the names of the plug's other topics."""
    reading = plug.reading
    content = {field.name: _json(field.read(reading) if reading else None) for field in READING_FIELDS}
    content["availability_reason"] = _json(plug.reason)
    content["availability"] = _json(_availability_word(plug.reason) if plug.reason else None)
    return ("{" + ",".join(f'"{name}":{text}' for name, text in content.items()) + "}").encode()


def number(value: float) -> str:
    """A number in its shortest decimal form: no exponent, no trailing `.0`, no negative zero."""
    if value == int(value):
        return str(int(value))
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


def timestamp(value: datetime) -> str:
    """An aware time as ISO 8601 in UTC with `Z`, to the millisecond, or finer where it was measured finer."""
    finest = "microseconds" if value.microsecond % 1000 else "milliseconds"
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=finest) + "Z"


def _plug_values(prefix: str, before: PlugState | None, plug: PlugState) -> Iterator[Message]:
    new, old = plug.reading, before.reading if before else None
    if new is not None and not same_values(old, new):
        for field in _VALUES:
            value = field.read(new)
            if value is not None and value != "" and (old is None or value != field.read(old)):
                yield Message(prefix + field.name, _plain(value).encode())
    if before is None or plug.last_published_at != before.last_published_at:
        if new is not None and new.time is not None and not _was_said(new.time, before):
            yield Message(prefix + _TIME, timestamp(new.time).encode())
        if plug.reason is not None:
            yield Message(prefix + "state", plug_state(plug), json=True)


def _was_said(time: datetime, before: PlugState | None) -> bool:
    """Whether a broker that was told `before` shows this time: the one that was due then, or that of its words."""
    return (
        before is not None and before.reading is not None and time == before.reading.time == before.last_published_time
    )


def _availability(prefix: str, reason: Reason) -> tuple[Message, Message]:
    return (
        Message(prefix + "availability_reason", reason.value.encode()),
        Message(prefix + "availability", _availability_word(reason).encode()),
    )


def _availability_word(reason: Reason) -> str:
    return "online" if reason is Reason.ONLINE else "offline"


def _plain(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number(value)
        case datetime():
            return timestamp(value)
    return str(value)


def _json(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return _plain(value)
    return _quoted(_plain(value))


def _dump(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
