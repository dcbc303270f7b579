"""Manifest entries below other base topics: forged ones (row 21 of the fault contract), and those of the bridge itself.

Forged ones are by a client that may only write below its own topics.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from evse_mqtt_bridge.domain.model import Station
from tests.faults.setup import (
    AVAILABILITY,
    PLUG,
    ReportRow,
    configure,
    log_entries,
    peak_memory,
    running_bridge,
    station_answer,
    uuid_of,
)
from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.cloud import Answer
from tests.harness.samples import at, plug_reading, reading
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

_ID = "evse-mqtt-bridge"
_BRIDGES, _STATIONS, _PLUGS, _LARGE = 200, 9, 64, 5
_CLEARED_STATIONS = 7
"""Stations with 64 plugs that are read, of the limit of 512 plugs and entries."""

_VICTIM = {
    "victim/bridge/availability": "offline",
    "victim/x/info": json.dumps({"published_by": _ID, "uuid": "x", "plugs": {}, "discovery": None}),
    "homeassistant/binary_sensor/evse_0_p0/availability/config": json.dumps(
        {"origin": {"name": _ID}, "availability": [{"topic": "victim/bridge/availability"}]}, separators=(",", ":")
    ),
}
"""Topics of others to which the forged entries lead."""


def _bridge(base: str, **more: object) -> tuple[str, str]:
    previous = [{"client_id": _ID, "base_topic": "victim", "discovery": None}]
    content = {"name": _ID, "client_id": _ID, "base_topic": base, "discovery": None, "previous": previous, **more}
    return f"{base}/bridge/info", json.dumps(content)


def _station(topic: str, uuid: str, plugs: Mapping[str, str]) -> tuple[str, str]:
    entries = {plug: {"topic": topic_id, "label": None} for plug, topic_id in plugs.items()}
    discovery = {"prefix": "homeassistant", "form": "entity"}
    content = {"uuid": uuid, "name": "", "plugs": entries, "published_by": _ID, "discovery": discovery}
    return f"{topic}/info", json.dumps(content)


def _forged() -> Iterator[tuple[str, str]]:
    for number in range(_BRIDGES):
        yield _bridge(f"many/{number}")
    for number in range(_LARGE):
        yield _bridge(f"large/{number}", padding="x" * 1_000_000)
    yield _bridge("ghosts")
    yield _station("ghosts/x", uuid_of(0), {f"ghost{number}": f"ghost{number}" for number in range(_PLUGS)})
    yield _bridge("stations")
    for number in range(_STATIONS):
        yield _station(f"stations/{number}", str(number), {f"p{plug}": f"p{plug}" for plug in range(_PLUGS)})


def test_forged_entries_change_nothing_of_others(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Row 21: what they cause is limited in number, and to the topics below them; they add no plugs to a station."""
    forged = dict(_forged())
    for topic, payload in (forged | _VICTIM).items():
        observer.publish(topic, payload, retain=True, qos=0)
    observer.sync()
    cloud.answer(uuid_of(0), Answer(hang=True))
    with running_bridge(configure(tmp_path, broker, cloud, cloud={"timeout": 2})) as bridge:
        observer.wait_for(AVAILABILITY, "online")

        def cleared(end: str) -> list[str]:
            return [topic for topic in forged if topic.endswith(end) and topic not in observer.latest]

        observer.wait(
            lambda: len(cleared("/bridge/info")) == 5 and len(cleared("/info")) == 5 + 1 + _CLEARED_STATIONS,
            what="the topics below forged entries to be cleared",
        )
        assert len([topic for topic in cleared("/bridge/info") if topic.startswith("many/")]) == 4
        assert {topic.split("/")[2] for topic in observer.latest if topic.startswith(f"evse/{uuid_of(0)}/")} <= {
            "availability",
            "availability_reason",
            "info",
        }, "no plug exists before the first response"
        cloud.answer(uuid_of(0), station_answer(0))
        observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/availability", "online", timeout=60)
        observer.sync()
        retained = observer.retained
        assert {topic: retained.get(topic) for topic in _VICTIM} == _VICTIM
        assert not [topic for topic in retained if "ghost" in topic]
        assert "previous" not in json.loads(retained["evse/bridge/info"])
        clears = [message.topic for message in observer.messages_since() if not message.payload]
        assert {topic.split("/")[0] for topic in clears} == {"many", "ghosts", "stations"}
        assert len(clears) < 15_000
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
        memory = peak_memory(bridge.pid)
        bridge.stop()
    assert memory < 150 * 1024 * 1024
    report_row(21, f"{len(forged)} forged entries: {len(clears)} topics below them cleared, {memory >> 20} MiB")


def test_old_base_with_many_stations_is_cleared(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer
) -> None:
    """The bridge reads 512 entries until discovery proves that the base topic is its own, and then the others."""
    stations = [Station(uuid_of(number), 30) for number in range(1, 201)]
    left = ModelBroker()
    former = Bridge(plan(*stations, form="device", prefix="homeassistant", base="old", client_id=_ID))
    left.connect(former.publication)
    for station in stations:
        former.poll(station.uuid, reading(plug_reading("p1"), plug_reading("p2")), at(0))
    left.deliver()
    left.stop()
    for topic, payload in left.retained.items():
        observer.publish(topic, payload.decode(), retain=True, qos=0)
    observer.sync()
    cloud.answer(uuid_of(0), station_answer(0))
    with running_bridge(configure(tmp_path, broker, cloud, homeassistant={"discovery": "device"})) as bridge:
        observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/availability", "online", timeout=60)
        observer.wait(
            lambda: not any(topic.startswith("old/") for topic in observer.latest),
            what="the topics below the old base topic to be cleared",
            timeout=60,
        )
        observer.sync()
        devices = [topic for topic in observer.retained if topic.startswith("homeassistant/device/")]
        assert len(devices) == 3, "the bridge, its station, and its plug"
        bridge.stop()
