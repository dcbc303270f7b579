"""What the stations are, what the bridge was told of them, and so what the broker must retain. Pure.

Values and availability are put into words here once more, from the contract and not from the bridge's code, so that a
mistake there is not repeated. Discovery and `info`, on which faults have no influence but whether they are there, are
the core's own words.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.domain.model import Message, PlugState, Station, StationState
from evse_mqtt_bridge.publishing import messages
from evse_mqtt_bridge.publishing.outputs import homeassistant
from evse_mqtt_bridge.publishing.outputs.homeassistant import Discovery
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["CLIENT_ID", "Plug", "Settings", "SoakStation", "Truth", "Wrong", "learn", "retained", "wrong"]

CLIENT_ID = "soak"

_NUMBERS = ("power", "current_l1", "current_l2", "current_l3", "dyn_current_limit")
_FLAGS: Mapping[str, tuple[bool | None, bool | None, bool | None]] = {
    # charging, vehicle connected, problem; a status that is not here tells none of them
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
_UNAVAILABLE = ("offline", "cloud_offline")
STATUSES = (*_FLAGS, *_UNAVAILABLE, "a_word_of_tomorrow")
"""What a plug of the soak may say."""


@dataclass(frozen=True, slots=True)
class Plug:
    """What the cloud knows of a plug; `spoilt` makes its object in the answer wrong."""

    uuid: str
    label: str
    status: str
    numbers: tuple[float | None, ...]
    time: str
    spoilt: bool = False

    def object(self, evse_uuid: str) -> dict[str, Any]:
        """Its object in an answer."""
        return {
            "time": self.time,
            "plug_uuid": self.uuid,
            "plug_label": self.label,
            "evse_uuid": evse_uuid,
            "status": self.status,
            **dict(zip(_NUMBERS, self.numbers, strict=True)),
            **({"power": {"much": True}} if self.spoilt else {}),
        }


@dataclass(frozen=True, slots=True)
class SoakStation:
    """A station as it is configured, and as the cloud knows it; `reason` is `online`, or what its trouble must give."""

    uuid: str
    name: str
    alias: str
    token: str
    plug_aliases: Mapping[str, str]
    plugs: Mapping[str, Plug]
    reason: str = "online"

    def station(self) -> Station:
        """As the core has it."""
        return Station(self.uuid, 1.0, self.name, self.alias, self.plug_aliases)

    def answer(self) -> bytes:
        """What the cloud says of it."""
        return json.dumps([plug.object(self.uuid) for plug in self.plugs.values()]).encode()


@dataclass(frozen=True, slots=True)
class Settings:
    """What of the configuration shows in the topics."""

    base: str = "evse"
    prefix: str = "homeassistant"
    form: Literal["entity", "device"] = "entity"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the bridge was told of a plug: its last valid object, its last reason, and all that its topics ever said."""

    plug: Plug
    reason: str
    said: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Truth:
    """The configured stations by uuid, and by station and plug uuid what was told of them."""

    settings: Settings
    stations: Mapping[str, SoakStation]
    known: Mapping[str, Mapping[str, _Known]] = field(default_factory=dict)


def learn(truth: Truth) -> Truth:
    """The truth after each station was asked once more, and the bridge has drawn its conclusions."""
    known = {uuid: _learn(truth.known.get(uuid, {}), station) for uuid, station in truth.stations.items()}
    return Truth(truth.settings, truth.stations, known)


def _learn(known: Mapping[str, _Known], station: SoakStation) -> dict[str, _Known]:
    if station.reason != "online":
        return {uuid: _Known(plug.plug, station.reason, plug.said) for uuid, plug in known.items()}
    learnt = {}
    for uuid, was in known.items():
        plug = station.plugs.get(uuid)
        if plug is None:
            learnt[uuid] = _Known(was.plug, "missing", was.said)
        elif plug.spoilt:
            learnt[uuid] = _Known(was.plug, "invalid_response", was.said)
    for uuid, plug in station.plugs.items():
        if not plug.spoilt:
            before = known[uuid].said if uuid in known else {}
            said = {
                name: before.get(name, frozenset()) | ({value} if (value := values.get(name)) else set())
                for values in (_values(plug),)
                for name in {*before, *values}
            }
            learnt[uuid] = _Known(plug, plug.status if plug.status in _UNAVAILABLE else "online", said)
    return learnt


# What must be retained


def retained(truth: Truth) -> dict[str, str]:
    """Topic -> payload of everything that must be retained, the time at which the bridge started left out."""
    topics = Topics(truth.settings.base)
    discovery = Discovery(topics, truth.settings.prefix, truth.settings.form, 1, CLIENT_ID, __version__)
    place = {"prefix": truth.settings.prefix, "form": truth.settings.form}
    info = {
        "name": "evse-mqtt-bridge",
        "version": __version__,
        "contract": 1,
        "client_id": CLIENT_ID,
        "base_topic": truth.settings.base,
        "stations": len(truth.stations),
        "discovery": place,
    }
    told = {topics.availability: "online", topics.info: json.dumps(info)}
    told |= _words(homeassistant.bridge(discovery))
    for uuid, soaked in truth.stations.items():
        station, known = soaked.station(), truth.known.get(uuid, {})
        state = StationState(plugs={plug: PlugState(plug, label=about.plug.label) for plug, about in known.items()})
        told |= _words([messages.station_info(topics, station, state, CLIENT_ID, place)])
        told |= _words(homeassistant.station(discovery, station))
        told |= {topics.station(station.topic_id, name): value for name, value in _availability(soaked.reason).items()}
        for plug, about in known.items():
            told |= _words(homeassistant.plug(discovery, station, plug, about.plug.label))
            prefix = topics.plug(station.topic_id, station.plugs.get(plug, plug))
            told |= {prefix + name: value for name, value in _plug(about).items()}
    return told


def _words(said: Iterable[Message]) -> dict[str, str]:
    return {message.topic: message.payload.decode() for message in said}


def _availability(reason: str) -> dict[str, str]:
    return {"availability": "online" if reason == "online" else "offline", "availability_reason": reason}


def _plug(known: _Known) -> dict[str, str]:
    values, words = _values(known.plug), _availability(known.reason)
    state = dict.fromkeys(("status", *_NUMBERS, "time", "label", "charging", "vehicle_connected", "problem"))
    state |= {name: _typed(name, value) for name, value in values.items()} | words
    return {**values, **words, "state": json.dumps(state)}


def _values(plug: Plug) -> dict[str, str]:
    """The topics of a plug's values that there is something to say on."""
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


# What is wrong with what is retained


@dataclass(frozen=True, slots=True)
class Wrong:
    """A topic that does not say what it must; `None` where it says, or must say, nothing."""

    topic: str
    wanted: str | None
    found: str | None

    def __str__(self) -> str:
        return f"{self.topic}: {_short(self.found)} and not {_short(self.wanted)}"


def wrong(truth: Truth, foreign: Mapping[str, str], found: Mapping[str, str]) -> list[Wrong]:
    """Every topic of `found` that is not the truth, and every one that is not there; `foreign` must still be there.

    A value that is no longer told may keep what it said last, or be gone with a broker's memory.
    """
    wanted = {**retained(truth), **foreign}
    orphans = dict(_leftovers(truth))
    different = [
        Wrong(topic, payload, found.get(topic))
        for topic, payload in wanted.items()
        if not _same(topic, payload, found.get(topic))
    ]
    surplus = [
        Wrong(topic, None, payload)
        for topic, payload in found.items()
        if topic not in wanted and payload not in orphans.get(topic, ())
    ]
    return different + surplus


def _leftovers(truth: Truth) -> Iterator[tuple[str, frozenset[str]]]:
    topics = Topics(truth.settings.base)
    for uuid, known in truth.known.items():
        station = truth.stations[uuid].station()
        for plug, about in known.items():
            prefix = topics.plug(station.topic_id, station.plugs.get(plug, plug))
            yield from ((prefix + name, payloads) for name, payloads in about.said.items())


def _same(topic: str, wanted: str, found: str | None) -> bool:
    if found is None or topic.rpartition("/")[2] not in ("state", "info", "config"):
        return wanted == found
    try:
        content = json.loads(found)
    except ValueError:
        return False
    if topic.endswith("/bridge/info") and isinstance(content, dict):
        content.pop("started", None)
    return bool(content == json.loads(wanted))


def _short(payload: str | None) -> str:
    return "nothing" if payload is None else repr(payload if len(payload) < 120 else payload[:120] + "...")
