"""Hostile texts from the cloud or the broker must not break log lines, topics or templates."""

import json
import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from evse_mqtt_bridge.publishing.outputs.homeassistant.entities import PLUG_ENTITIES
from tests.faults.setup import (
    PLUG,
    ReportRow,
    configure,
    log_entries,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for_event,
    wait_until_up,
)
from tests.harness import CloudServer, Mosquitto, Observer, plug_object, station_table
from tests.harness.net import HOST
from tests.mqtt import packets

HOSTILE = (
    "two\r\nlines",
    "2026-01-01T00:00:00Z [error    ] forged\n2026-01-01T00:00:00Z [error    ] line",
    '","level":"error","message":"forged"}\n{"a":"',
    "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "evse/+/#",
    "../../$SYS/broker",
    "nought\x00nought",
    "{{ states('lock.door') }}{% set x = 1 %}{# comment #}",
    "\u202eright to left\u2066\u200b\ufeff\u2028\u2029\x85",
    "<script>alert(1)</script>&amp;[bold]rich[/bold]%s{0}${HOME}",
    "ü" * 5_000,
    "x" * 10_000,
    "\U0001f697" * 100,
    " ",
    "",
)

_WELL_FORMED = re.compile(
    r"(evse/bridge/(availability|info)"
    r"|evse/[0-9a-f]{32}/(availability|availability_reason|info)"
    r"|evse/[0-9a-f]{32}/[A-Za-z0-9_-]{1,64}/[a-z0-9_]+"
    r"|homeassistant/(binary_sensor|sensor|event)/evse_[A-Za-z0-9_-]+/[a-z0-9_]+/config)"
)
_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[(debug|info|warning|error)\s*\] .*")


def _texts(value: object, key: str = "") -> list[tuple[str, str]]:
    """Return every string in a JSON value, with its key."""
    match value:
        case str():
            return [(key, value)]
        case dict():
            return [pair for name, inner in value.items() for pair in _texts(inner, name)]
        case list():
            return [pair for inner in value for pair in _texts(inner, key)]
    return []


def test_unusual_user_properties_do_not_break_the_connection(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Row 16: another client's retained messages have user properties that MQTT 5 allows and paho does not expect."""
    cloud.answer(uuid_of(0), station_answer(0))
    other_client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    other_client.connect(broker.host, broker.port)
    other_client.loop_start()
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no types
    properties.UserProperty = [("\ufeff", "\ufeff nobody's"), ("\U0001f697", "\u202e")]
    topics = ("homeassistant/status", "other/bridge/info", f"evse/{uuid_of(9)}/info", "evse/bridge/info")
    for topic in topics:
        other_client.publish(topic, "{}", qos=1, retain=True, properties=properties).wait_for_publish(10)
    other_client.disconnect()
    other_client.loop_stop()
    with running_bridge(configure(tmp_path, broker, cloud)) as bridge:
        wait_until_up(observer, 0)
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
        bridge.stop()
    report_row(16, f"U+FEFF in user properties of {len(topics)} retained messages: 1 connection")


def _publish_raw(port: int, message: bytes) -> bool:
    """Publish a packet at QoS 1 as another client; return whether the broker acknowledges it."""
    with socket.create_connection((HOST, port), timeout=10) as client:
        client.sendall(packets.packet(0x10, packets.text("MQTT") + b"\5\2\0\x3c\0" + packets.text("other")) + message)
        answers = client.makefile("rb")
        answers.read(2 + answers.read(2)[1] - 2)
        return answers.read(1)[:1] == b"\x40"


def test_odd_properties_do_not_break_the_connection(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, report_row: ReportRow
) -> None:
    """Row 16: any client can set any property of a message that the bridge reads, retained or not."""
    cloud.answer(uuid_of(0), station_answer(0))
    cases = list(packets.odd_properties())
    retained = [
        _publish_raw(broker.port, packets.publish(f"other{number}/bridge/info", b"{}", properties, qos=1))
        for number, (_, properties) in enumerate(cases)
    ]
    # a client with MQTT 3.1.1 receives no properties
    with (
        Observer(broker.port, "evse/#", protocol="3.1.1") as observer,
        running_bridge(configure(tmp_path, broker, cloud)) as bridge,
    ):
        wait_until_up(observer, 0)
        status = "homeassistant/status"
        live = [
            _publish_raw(broker.port, packets.publish(status, b"offline", properties, qos=1, retain=False))
            for _, properties in cases
        ]
        observer.publish(status, "online")
        wait_for_event(bridge, "consumer_started")
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
    report_row(16, f"odd properties: {sum(retained)} retained and {sum(live)} live messages, 1 connection")
    # Mosquitto 2.1 delivers the cases that MQTT 5 allows, 2.0 some others, too
    assert sum(retained) > 25


def test_hostile_labels_and_statuses_stay_payloads(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Rows 10 and 16: the bridge publishes them verbatim as payloads, and cleans them everywhere else."""
    for number, text in enumerate(HOSTILE):
        cloud.answer(uuid_of(number), station_answer(number, plug_label=text, status=text, **{text or "more": text}))
    count = len(HOSTILE)
    console = configure(
        tmp_path / "console",
        broker,
        cloud,
        count,
        mqtt={"base_topic": "console", "client_id": "console"},
        homeassistant={"enabled": False},
        log={"format": "console"},
    )
    with ExitStack() as stack:
        bridge = stack.enter_context(running_bridge(configure(tmp_path, broker, cloud, count)))
        other = stack.enter_context(running_bridge(console, is_json=False))
        for base in ("evse", "console"):
            observer.wait_for(f"{base}/bridge/availability", "online")
            for number in range(count):
                observer.wait_for(f"{base}/{uuid_of(number)}/{PLUG}/availability", "online")
        observer.sync()
        retained = observer.retained
        for number, text in enumerate(HOSTILE):
            for field in ("label", "status"):
                assert retained.get(f"evse/{uuid_of(number)}/{PLUG}/{field}", "") == text
        mine = {topic: payload for topic, payload in retained.items() if not topic.startswith("console/")}
        assert [topic for topic in mine if not _WELL_FORMED.fullmatch(topic)] == []
        discovery = {topic: json.loads(payload) for topic, payload in mine.items() if topic.endswith("/config")}
        for topic, config in discovery.items():
            _assert_discovery_is_safe(topic, config)
        lines = log_entries(bridge, "unusual_answer")
        assert len(lines) > 10
        for entry in log_entries(bridge):
            for _, text in _texts(entry):
                assert text.isprintable()
                assert len(text) < 400
        assert len(other.stderr) > 10
        for line in other.stderr:
            assert _LINE.fullmatch(line)
            assert line.isprintable()
            assert len(line) < 1000
        assert not log_entries(bridge, level="error")
    report_row(
        16,
        f"{count} hostile texts as label, status and field: {len(mine)} topics well-formed, {len(discovery)} "
        f"discovery messages, {len(lines)} log lines of at most 400 characters each value",
    )


def _assert_discovery_is_safe(topic: str, config: dict[str, Any]) -> None:
    known = {entity.options.get("value_template", "") for entity in PLUG_ENTITIES}
    known |= {entity.availability_template for entity in PLUG_ENTITIES}
    for key, text in _texts(config):
        assert text.isprintable(), topic
        assert len(text) < 600, topic
        if key.endswith("template"):
            assert text in known, topic
        elif key != "name":
            assert "{{" not in text, topic
        if key in {"topic", "state_topic"}:
            assert _WELL_FORMED.fullmatch(text), topic


def test_invalid_plug_ids_only_affect_their_own_plug(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Row 10: plug and station uuids with wildcards, slashes, NUL or CR/LF, and some of 10 kB."""
    invalid = [
        "a/b",
        "+",
        "#",
        "",
        "..",
        "$SYS",
        "a\x00b",
        "a\r\nb",
        "\x1b[31m",
        "x" * 65,
        "x" * 10_000,
        "ü",
        " ",
        "a.b",
    ]
    with_invalid_id = [plug_object(evse_uuid=uuid_of(0), plug_uuid=uuid) for uuid in invalid]
    of_other_stations = [
        plug_object(evse_uuid=uuid, plug_uuid=f"foreign-{n}") for n, uuid in enumerate(["", "#", *invalid[4:]])
    ]
    cloud.answer(uuid_of(0), [*with_invalid_id, *station_answer(0), *of_other_stations])
    cloud.answer(uuid_of(1), with_invalid_id)
    stations = [station_table(uuid_of(number), name=f"{{{{ now() }}}} {number}") for number in range(2)]
    with running_bridge(configure(tmp_path, broker, cloud, stations)) as bridge:
        wait_until_up(observer)
        observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/power", "7107")
        observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/availability", "online")
        observer.wait_for(f"evse/{uuid_of(1)}/availability_reason", "invalid_response")
        cloud.wait_for_requests(6)
        observer.sync()
        topics = observer.retained.keys()
        assert [topic for topic in topics if not _WELL_FORMED.fullmatch(topic)] == []
        plugs = {topic.split("/")[2] for topic in topics if topic.startswith("evse/") and topic.count("/") == 3}
        assert plugs == {PLUG}
        details = [entry["detail"] for entry in log_entries(bridge, "unusual_answer")]
        assert len(details) == len(set(details)) <= len(invalid) + len(of_other_stations)
        assert all(detail.isprintable() and len(detail) < 300 for detail in details)
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
    count = len(invalid) + len(of_other_stations)
    report_row(10, f"{count} invalid uuids: 1 plug published, {len(details)} log lines")
