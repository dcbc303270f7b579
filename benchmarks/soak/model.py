"""The model of the soak test: the stations, what the bridge published for them, and the expected topics. Pure.

This module renders values and availability from the contract and not with the bridge's code, so that it does not repeat
mistakes of the bridge. Discovery and `info` come from the bridge's code, because faults only affect whether they exist.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.domain.model import PlugState, Station, StationState
from evse_mqtt_bridge.publishing.manifest import StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import station_info
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.homeassistant import discovery as homeassistant
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Discovery
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = [
    "CLIENT_ID",
    "MESSAGE_LIMIT",
    "Difference",
    "Model",
    "Plug",
    "Settings",
    "SoakStation",
    "after_poll",
    "differences",
    "expected_topics",
    "restarted",
]

CLIENT_ID = "soak"

MESSAGE_LIMIT = 4800
"""Limit in bytes of a broker that rejects large messages; only long labels, and what contains them, exceed it."""

_MAYBE_REJECTED = 4000
"""Size in bytes from which messages may exceed the limit, since the bridge may render JSON in another way."""

_NUMBERS = ("power", "current_l1", "current_l2", "current_l3", "dyn_current_limit")
_FLAGS: Mapping[str, tuple[bool | None, bool | None, bool | None]] = {
    # charging, vehicle connected, problem; for other statuses, all three are unknown
    "idle": (False, False, False),
    "connected": (False, True, False),
    "charging": (True, True, False),
    "recently_started_charging": (True, True, False),
    "discharging": (False, True, False),
    "starting": (None, None, False),
    "stopped": (False, None, False),
    "error": (None, None, True),
    "init": (None, None, False),
}
_METER_NUMBERS = ("energy", "energy_discharged", "energy_gap", "session_energy")
_METER_OBJECTS = ("session", "last_session")
_METERED = frozenset({*_METER_NUMBERS, *_METER_OBJECTS, "energy_time", "iec61851"})
"""What the bridge counts, or derives from it. It depends on the time of each poll, so only its form is checked."""

_UNAVAILABLE = ("offline", "cloud_offline")
STATUSES = (*_FLAGS, *_UNAVAILABLE, "a_future_status")
"""The statuses that plugs have."""


@dataclass(frozen=True, slots=True)
class Plug:
    """A plug in the cloud.

    Attributes:
        uuid: The plug's uuid.
        label: Its label.
        status: The vendor's status.
        numbers: The values of `_NUMBERS`, in that order.
        time: The time of the measurement, in RFC 3339.
        invalid: Whether its object in the response is invalid.
    """

    uuid: str
    label: str
    status: str
    numbers: tuple[float | None, ...]
    time: str
    invalid: bool = False

    def object(self, evse_uuid: str) -> dict[str, Any]:
        """Return its object in a response."""
        return {
            "time": self.time,
            "plug_uuid": self.uuid,
            "plug_label": self.label,
            "evse_uuid": evse_uuid,
            "status": self.status,
            **dict(zip(_NUMBERS, self.numbers, strict=True)),
            **({"power": {"much": True}} if self.invalid else {}),
        }


@dataclass(frozen=True, slots=True)
class SoakStation:
    """A station in the configuration and in the cloud.

    Attributes:
        uuid: The station's uuid.
        name: Its configured name.
        alias: Its configured alias, or empty.
        token: Its token, in the cloud and in the configuration.
        plug_aliases: Configured alias by plug uuid.
        plugs: Plug by uuid.
        reason: The expected availability reason: `online`, or that of its fault.
    """

    uuid: str
    name: str
    alias: str
    token: str
    plug_aliases: Mapping[str, str]
    plugs: Mapping[str, Plug]
    reason: str = "online"

    def station(self) -> Station:
        """Return the station as a value of the bridge's domain."""
        return Station(self.uuid, 1.0, self.name, self.alias, self.plug_aliases)

    def answer(self) -> bytes:
        """Return the body of the cloud's response."""
        return json.dumps([plug.object(self.uuid) for plug in self.plugs.values()]).encode()


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that topics depend on: base topic, discovery prefix and form."""

    base: str = "evse"
    prefix: str = "homeassistant"
    form: Literal["entity", "device"] = "entity"


@dataclass(frozen=True, slots=True)
class _PublishedPlug:
    """A plug that the bridge must have published.

    Attributes:
        plug: Its last valid object.
        reason: Its availability reason.
        payloads: Every payload published so far, by the name of the topic.
        is_restored: Whether the running process of the bridge knows it from a previous run only, without values.
    """

    plug: Plug
    reason: str
    payloads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    is_restored: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """The stations and the published plugs, which determine the topics that the broker must retain.

    Attributes:
        settings: The settings that topics depend on.
        stations: Configured station by uuid.
        published: Published plug by station uuid and plug uuid.
    """

    settings: Settings
    stations: Mapping[str, SoakStation]
    published: Mapping[str, Mapping[str, _PublishedPlug]] = field(default_factory=dict)


def after_poll(model: Model) -> Model:
    """Return the model after each station was polled once more."""
    published = {uuid: _after_poll(model.published.get(uuid, {}), station) for uuid, station in model.stations.items()}
    return Model(model.settings, model.stations, published)


def restarted(model: Model) -> Model:
    """Return the model after a restart of the bridge, which restores the plugs from the topics without their values."""
    published = {
        uuid: {plug: replace(published_plug, is_restored=True) for plug, published_plug in plugs.items()}
        for uuid, plugs in model.published.items()
    }
    return replace(model, published=published)


def _after_poll(published: Mapping[str, _PublishedPlug], station: SoakStation) -> dict[str, _PublishedPlug]:
    if station.reason != "online":
        return {uuid: replace(plug, reason=station.reason) for uuid, plug in published.items()}
    result = {}
    for uuid, before in published.items():
        plug = station.plugs.get(uuid)
        if plug is None:
            result[uuid] = replace(before, reason="missing")
        elif plug.invalid:
            result[uuid] = replace(before, reason="invalid_response")
    for uuid, plug in station.plugs.items():
        if not plug.invalid:
            earlier = published[uuid].payloads if uuid in published else {}
            values = _values(plug)
            payloads = {
                name: earlier.get(name, frozenset()) | ({value} if (value := values.get(name)) else set())
                for name in {*earlier, *values}
            }
            result[uuid] = _PublishedPlug(plug, plug.status if plug.status in _UNAVAILABLE else "online", payloads)
    return result


# Expected topics


def expected_topics(model: Model) -> dict[str, str]:
    """Return the payload by topic that the broker must retain, without the time at which the bridge started."""
    topics = Topics(model.settings.base)
    discovery = Discovery(topics, model.settings.prefix, model.settings.form, 1, CLIENT_ID, __version__)
    location = DiscoveryLocation(model.settings.prefix, model.settings.form)
    locations = (PlainLocation(topics), location)
    info = {
        "name": "evse-mqtt-bridge",
        "version": __version__,
        "contract": 1,
        "client_id": CLIENT_ID,
        "base_topic": model.settings.base,
        "stations": len(model.stations),
        "discovery": dict(location.manifest_value(())),
    }
    expected = {topics.availability: "online", topics.info: json.dumps(info)}
    expected |= _payloads(homeassistant.bridge(discovery))
    for uuid, soak_station in model.stations.items():
        station, published = soak_station.station(), model.published.get(uuid, {})
        state = StationState(
            plugs={plug: PlugState(plug, label=published_plug.plug.label) for plug, published_plug in published.items()}
        )
        expected |= _payloads([station_info(StationEntry.of(topics, station, state, locations), CLIENT_ID)])
        expected |= _payloads(homeassistant.station(discovery, station))
        expected |= {
            topics.station(station.topic_id, name): value for name, value in _availability(soak_station.reason).items()
        }
        for plug, published_plug in published.items():
            expected |= _payloads(homeassistant.plug(discovery, station, plug, published_plug.plug.label))
            prefix = topics.plug(station.topic_id, station.plug_topic_id(plug))
            expected |= {prefix + name: value for name, value in _plug(published_plug).items()}
    return expected


def _payloads(rendered: Iterable[Message]) -> dict[str, str]:
    return {message.topic: message.payload.decode() for message in rendered}


def _availability(reason: str) -> dict[str, str]:
    return {"availability": "online" if reason == "online" else "offline", "availability_reason": reason}


def _plug(published: _PublishedPlug) -> dict[str, str]:
    values = {} if published.is_restored else _values(published.plug)
    availability = _availability(published.reason)
    state = dict.fromkeys(("status", *_NUMBERS, "time", "label", "charging", "vehicle_connected", "problem"))
    state |= {name: _typed(name, value) for name, value in values.items()} | availability
    return {**values, **availability, "state": json.dumps(state)}


def _values(plug: Plug) -> dict[str, str]:
    """Return the payloads of a plug's value topics; unknown values have none."""
    charging, connected, problem = _FLAGS.get(plug.status, (None, None, None))
    flags = {"charging": charging, "vehicle_connected": connected, "problem": problem}
    return {
        "status": plug.status,
        "label": plug.label,
        "time": plug.time,
        **{name: _plain(number) for name, number in zip(_NUMBERS, plug.numbers, strict=True) if number is not None},
        **{name: str(flag).lower() for name, flag in flags.items() if flag is not None},
    }


def _plain(number: float) -> str:
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _typed(name: str, value: str) -> object:
    if name in _NUMBERS:
        return float(value)
    return value == "true" if name in ("charging", "vehicle_connected", "problem") else value


# Differences between the expected and the retained topics


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic with a wrong payload; `None` means that it has, or must have, no payload."""

    topic: str
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        return f"{self.topic}: {_short(self.found)}, expected {_short(self.expected)}"


def differences(
    model: Model,
    foreign: Mapping[str, str],
    found: Mapping[str, str],
    overwritten: Mapping[str, str],
    *,
    is_limited: bool = False,
) -> list[Difference]:
    """Return every topic that is missing, has a wrong payload, or should not exist.

    A value that has become unknown may keep an earlier payload, or what another client published instead, or have none
    since a restart of the broker.

    Args:
        model: The model.
        foreign: The topics of other clients, which must be unchanged.
        found: The retained topics.
        overwritten: What other clients published on topics of the bridge.
        is_limited: Whether the broker rejects large messages, whose topics then do not matter.
    """
    expected = {**expected_topics(model), **foreign}
    if is_limited:
        large = {topic for topic, payload in expected.items() if len(payload.encode()) > _MAYBE_REJECTED}
        expected = {topic: payload for topic, payload in expected.items() if topic not in large}
        found = {topic: payload for topic, payload in found.items() if topic not in large}
    allowed = {topic: payloads | {overwritten.get(topic, "")} for topic, payloads in _earlier_payloads(model)}
    metered = frozenset(_metered_topics(model))
    different = [
        Difference(topic, payload, found.get(topic))
        for topic, payload in expected.items()
        if not _same(topic, payload, found.get(topic))
    ]
    surplus = [
        Difference(topic, None, payload)
        for topic, payload in found.items()
        if topic not in expected and payload not in allowed.get(topic, ()) and topic not in metered
    ]
    return different + surplus + list(_wrong_meters(model, found))


def _wrong_meters(model: Model, found: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the topics of meters that are missing, or whose payloads cannot be right."""
    topics = Topics(model.settings.base)
    for uuid, published in model.published.items():
        station = model.stations[uuid].station()
        for plug, published_plug in published.items():
            prefix = topics.plug(station.topic_id, station.plug_topic_id(plug))
            for name in (*_METER_NUMBERS, *_METER_OBJECTS):
                payload = found.get(prefix + name)
                if not (published_plug.is_restored if payload is None else _is_plausible(name, payload)):
                    yield Difference(prefix + name, "a plausible payload", payload)


def _is_plausible(name: str, payload: str) -> bool:
    try:
        content = json.loads(payload)
    except ValueError:
        return False
    if name in _METER_OBJECTS:
        return isinstance(content, dict) and {"id", "started", "energy"} <= content.keys()
    return isinstance(content, int | float) and content >= 0


def _metered_topics(model: Model) -> Iterator[str]:
    topics = Topics(model.settings.base)
    for uuid, published in model.published.items():
        station = model.stations[uuid].station()
        for plug in published:
            prefix = topics.plug(station.topic_id, station.plug_topic_id(plug))
            yield from (prefix + name for name in _METERED)


def _earlier_payloads(model: Model) -> Iterator[tuple[str, frozenset[str]]]:
    topics = Topics(model.settings.base)
    for uuid, published in model.published.items():
        station = model.stations[uuid].station()
        for plug, published_plug in published.items():
            prefix = topics.plug(station.topic_id, station.plug_topic_id(plug))
            yield from ((prefix + name, payloads) for name, payloads in published_plug.payloads.items())


def _same(topic: str, expected: str, found: str | None) -> bool:
    if expected == found:
        return True
    if found is None or topic.rpartition("/")[2] not in ("state", "info", "config"):
        return False
    try:
        content = json.loads(found)
    except ValueError:
        return False
    if topic.endswith("/bridge/info") and isinstance(content, dict):
        content.pop("started", None)
    if topic.endswith("/state") and isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in _METERED}
    return bool(content == json.loads(expected))


def _short(payload: str | None) -> str:
    return "no payload" if payload is None else repr(payload if len(payload) < 120 else payload[:120] + "...")
