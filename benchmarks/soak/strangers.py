"""Faults that other clients of the broker cause, on topics that the bridge reads; each lasts through the check.

The bridge reads the topics of the manifest after it connected, so its connection is reset when they are published.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from random import Random

from benchmarks.soak.changes import PREFIXES
from benchmarks.soak.environment import Environment
from benchmarks.soak.faults import Fault
from benchmarks.soak.model import CLIENT_ID
from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.domain.model import PlugState, Station, StationState
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import BridgeFacts, bridge_info, station_info
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.net import HOST
from tests.mqtt.packets import odd_properties, packet, publish, text

__all__ = ["STRANGER_FAULTS", "is_strange"]

_STRANGER = "stranger"
"""First level of the topics of the other client, or its beginning."""

_BIRTHS_EVERY = 0.3
"""Seconds; shorter than a full republish that follows a connect."""

_STARTED = datetime(2026, 1, 1, tzinfo=UTC)
_FORGED_BRIDGES = 2000
_FORGED_STATIONS = 50
_FORGED_PLUGS = 64
_VICTIM_PLUGS = 8
_CHANGED_TOPICS = 500
_LARGE_ENTRIES = 20
_LARGE_SIZE = 200_000


def _odd_properties(environment: Environment, rng: Random) -> Callable[[], None]:
    """Publish every odd property on a topic of the manifest and on the birth topic, retained and not."""
    birth = f"{environment.settings.prefix}/status"
    properties = [content for _, content in odd_properties()]
    rng.shuffle(properties)
    for number, content in enumerate(properties):
        for topic in (f"{_STRANGER}{number}/bridge/info", birth):
            _publish_packet(environment.broker.port, publish(topic, b"online", content, retain=rng.random() < 0.7))
    environment.to_broker.cut()
    return lambda: _clear(environment, birth)


def _large_messages(environment: Environment, _rng: Random) -> Callable[[], None]:
    """Publish large messages, and messages with many user properties, which are slow to decode."""
    birth = f"{environment.settings.prefix}/status"
    many = (b"\x26" + text("a") + text("b")) * 50_000
    for number, (payload, properties) in enumerate([(b"x" * 1_000_000, b""), (b"{}", many), (b"[" * 60_000, b"")]):
        for topic in (f"{_STRANGER}{number}/bridge/info", birth):
            _publish_packet(environment.broker.port, publish(topic, payload, properties))
    environment.to_broker.cut()
    return lambda: _clear(environment, birth)


def _forged_entries(environment: Environment, _rng: Random) -> Callable[[], None]:
    """Publish manifest entries in the name of the bridge, below topics that it never had.

    The bridge may clear topics below the forged base topics, but not the discovery topics that the entries describe: a
    third client published these.
    """
    forged = dict(_forged(environment.settings.prefix))
    victims = dict(_victims(environment.settings.prefix))
    environment.foreign.update(victims)
    environment.publish({topic: payload.encode() for topic, payload in (forged | victims).items()})
    environment.to_broker.cut()

    def end() -> None:
        for topic in victims:
            del environment.foreign[topic]
        environment.publish(dict.fromkeys([*forged, *victims], b""))

    return end


def _victims(prefix: str) -> Iterator[tuple[str, str]]:
    """Yield some discovery messages of a third client, on topics that a forged entry describes."""
    payload = json.dumps({"origin": {"name": "evse-mqtt-bridge"}, "availability_topic": "victim/bridge/availability"})
    for plug in range(_VICTIM_PLUGS):
        yield f"{prefix}/sensor/evse_{0:032x}_{0:016x}{plug:016x}/power/config", payload


def _forged(prefix: str) -> Iterator[tuple[str, str]]:
    """Yield entries as the bridge itself would publish them, and larger ones."""
    location = DiscoveryLocation(prefix, "entity")
    facts = BridgeFacts(__version__, _STARTED, 1)
    for number in range(_FORGED_BRIDGES):
        topics = Topics(f"{_STRANGER}{number}")
        yield _topic_and_payload(bridge_info(BridgeEntry(topics, CLIENT_ID, (PlainLocation(topics), location)), facts))
    topics = Topics(f"{_STRANGER}0")
    for number in range(_FORGED_STATIONS):
        plugs = {uuid: PlugState(uuid) for uuid in (f"{number:016x}{plug:016x}" for plug in range(_FORGED_PLUGS))}
        station = Station(f"{number:032x}", 1.0, "forged", f"garage-{number}", {})
        entry = StationEntry.of(topics, station, StationState(plugs=plugs), (PlainLocation(topics), location))
        yield _topic_and_payload(station_info(entry, CLIENT_ID))
    for number in range(_LARGE_ENTRIES):
        content = {"name": "evse-mqtt-bridge", "client_id": CLIENT_ID, "base_topic": "evse", "x": "x" * _LARGE_SIZE}
        yield f"{_STRANGER}-large-{number}/bridge/info", json.dumps(content)


def _topic_and_payload(message: Message) -> tuple[str, str]:
    return message.topic, message.payload.decode()


def _births(environment: Environment, _rng: Random) -> Callable[[], None]:
    """Publish birth messages faster than a full republish is done, until the topics were right."""
    ending = threading.Event()

    def publish_births() -> None:
        while not ending.wait(_BIRTHS_EVERY):
            with contextlib.suppress(OSError, AssertionError):  # the broker is away; the next one may reach it
                environment.publish_birth()

    thread = threading.Thread(target=publish_births, daemon=True)
    thread.start()

    def end() -> None:
        ending.set()
        thread.join()

    return end


def _changed_topics(environment: Environment, rng: Random) -> Callable[[], None]:
    """Clear and overwrite retained topics of the bridge."""
    own = [topic for topic in environment.retained() if topic not in environment.foreign and not is_strange(topic)]
    chosen = rng.sample(own, min(len(own), rng.choice([1, 10, _CHANGED_TOPICS])))
    messages = {topic: rng.choice([b"", b"", b"overwritten"]) for topic in chosen}
    environment.overwritten.update({topic: payload.decode() for topic, payload in messages.items()})
    environment.publish(messages)
    return lambda: None


def is_strange(topic: str) -> bool:
    """Return whether a topic belongs to the other client, or is a birth topic."""
    return topic.startswith(_STRANGER) or topic in {f"{prefix}/status" for prefix in PREFIXES}


STRANGER_FAULTS: Mapping[str, Fault] = {
    "messages with odd properties": _odd_properties,
    "large messages": _large_messages,
    "forged manifest entries": _forged_entries,
    "birth messages in quick succession": _births,
    "topics of the bridge cleared and overwritten": _changed_topics,
}


def _publish_packet(port: int, message: bytes) -> None:
    """Publish a packet as MQTT 5 client of its own, since a broker disconnects those whose packet it rejects."""
    connect = packet(0x10, text("MQTT") + bytes([5, 2, 0, 60, 0]) + text(""))
    with socket.create_connection((HOST, port), timeout=10) as connection:
        connection.sendall(connect)
        connection.recv(1024)
        with contextlib.suppress(OSError):  # the broker may reject the message and disconnect
            connection.sendall(message + packet(0xE0, b""))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1024):
                pass  # until the broker has read everything


def _clear(environment: Environment, *topics: str) -> None:
    """Clear the retained messages of the other client."""
    own = [topic for topic in environment.retained() if topic.startswith(_STRANGER)]
    environment.publish(dict.fromkeys([*own, *topics], b""))
