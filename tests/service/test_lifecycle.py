"""The bridge as a process: stop, restart and reload."""

import os
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_EVSE, Answer, plug_object, status_example
from tests.harness.configuration import station_table, write_config
from tests.service.conftest import Start

AVAILABILITY = "evse/bridge/availability"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_publishes_offline_last(
    config: Path, observer: Observer, bridge_process: Start, number: signal.Signals
) -> None:
    bridge = bridge_process(config)
    observer.wait_for(AVAILABILITY, "online")
    bridge.send_signal(number)
    bridge.assert_exit(0, timeout=5)
    observer.wait_for(AVAILABILITY, "offline")
    observer.sync()
    published = [seen for seen in observer.messages if seen.topic.startswith(("evse/", "homeassistant/"))]
    assert (published[-1].topic, published[-1].payload, published[-1].retain) == (AVAILABILITY, "offline", True)


def test_run_without_pycurl_logs_it_once_at_the_start(
    config: Path, tmp_path: Path, observer: Observer, bridge_process: Start
) -> None:
    (tmp_path / "pycurl.py").write_text("raise ImportError\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    bridge = bridge_process(config, env={"PYTHONPATH": path})
    observer.wait_for(AVAILABILITY, "online")
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration reloaded")
    lines = [line for line in bridge.stderr if "libcurl cannot be used" in line]
    assert len(lines) == 1
    assert "several times the CPU" in lines[0]
    assert "pycurl is missing" in lines[0]


def test_stop_during_a_poll_does_not_wait_for_it(
    config: Path, cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    cloud.answer(EXAMPLE_EVSE, Answer(hang=True))
    bridge = bridge_process(config)
    observer.wait_for(AVAILABILITY, "online")
    cloud.wait_for_requests(1)
    began = time.monotonic()
    bridge.stop(timeout=5)
    assert time.monotonic() - began < 5
    observer.wait_for(AVAILABILITY, "offline")


def test_stop_without_a_broker_exits(config: Path, broker: Mosquitto, bridge_process: Start) -> None:
    broker.stop()
    bridge = bridge_process(config)
    bridge.wait_for_line("broker unreachable")
    bridge.stop(timeout=5)


def test_stop_with_a_frozen_broker_leaves_the_will(
    config: Path, broker: Mosquitto, observer: Observer, bridge_process: Start
) -> None:
    bridge = bridge_process(config)
    observer.wait_for(AVAILABILITY, "online")
    broker.freeze()
    bridge.stop(timeout=5)
    assert "did not acknowledge" in bridge.stderr_text
    broker.thaw()
    observer.wait_for(AVAILABILITY, "offline")


def test_killed_bridge_is_offline_within_eight_seconds(config: Path, observer: Observer, bridge_process: Start) -> None:
    bridge = bridge_process(config)
    observer.wait_for(AVAILABILITY, "online")
    bridge.kill()
    observer.wait_for(AVAILABILITY, "offline", timeout=8)
    observer.sync()
    assert observer.retained[AVAILABILITY] == "offline"


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_quick_restart_publishes_no_late_offline(
    config: Path, observer: Observer, bridge_process: Start, end: str
) -> None:
    first = bridge_process(config)
    observer.wait_for(AVAILABILITY, "online")
    if end == "stopped":
        first.stop()
        observer.wait_for(AVAILABILITY, "offline")
    else:
        first.kill()
    start = observer.count
    bridge_process(config)
    observer.wait(lambda: "online" in observer.payloads(AVAILABILITY, start))
    # The will delay is 5 s, so the will of the first bridge would have been published by then.
    due = time.monotonic() + 7
    observer.wait(lambda: time.monotonic() > due)
    assert observer.payloads(AVAILABILITY, start)[-1] == "online"
    assert observer.retained[AVAILABILITY] == "online"
    if end == "killed":
        assert "offline" not in observer.payloads(AVAILABILITY, start)


def test_reload_leaves_unchanged_stations_undisturbed(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    other, third = "b" * 32, "c" * 32
    for uuid in (other, third):
        cloud.answer(uuid, [plug_object(evse_uuid=uuid)])
    config = tmp_path / "config.toml"
    tables["stations"] = [station_table(), station_table(other)]
    bridge = bridge_process(write_config(config, tables))
    observer.wait_for(AVAILABILITY, "online")
    for uuid in (EXAMPLE_EVSE, other):
        observer.wait_for(f"evse/{uuid}/availability", "online")
    start = observer.count

    tables["stations"] = [station_table(), station_table(third)]
    write_config(config, tables)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration reloaded")
    observer.wait_for(f"evse/{third}/availability", "online")
    observer.wait(lambda: not any(other in topic and payload for topic, payload in observer.latest.items()))
    observer.sync()

    assert not [seen.topic for seen in observer.messages_since(start) if EXAMPLE_EVSE in seen.topic]
    assert not [topic for topic in observer.retained if other in topic]
    assert observer.payloads(AVAILABILITY, start) == []
    times = [request.at for request in cloud.wait_for_requests(6, EXAMPLE_EVSE)]
    assert max(later - earlier for earlier, later in pairwise(times[1:])) < 1.7


def test_reload_of_an_invalid_file_keeps_polling(
    config: Path, cloud: CloudServer, bridge_process: Start, observer: Observer
) -> None:
    bridge = bridge_process(config)
    observer.wait_for(AVAILABILITY, "online")
    config.write_text(config.read_text().replace("[polling]", "[poling]"))
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("poling.*polling")
    cloud.wait_for_requests(len(cloud.requests) + 2)
    bridge.stop()


@pytest.mark.parametrize(
    ("section", "key", "value", "prefix"),
    [
        ("mqtt", "base_topic", "site/evse", "evse/"),
        ("homeassistant", "discovery_prefix", "ha", "homeassistant/"),
        ("homeassistant", "discovery", "device", "homeassistant/sensor/"),
        ("homeassistant", "enabled", False, "homeassistant/"),
    ],
)
@pytest.mark.parametrize("running", [True, False], ids=["while running", "while not running"])
def test_changed_prefix_or_form_clears_the_old_topics(
    tmp_path: Path,
    tables: dict[str, Any],
    observer: Observer,
    bridge_process: Start,
    section: str,
    key: str,
    value: object,
    prefix: str,
    running: bool,
) -> None:
    foreign = {"evse/other/thing/power": "1", "evse/bridge2/info": "{}", "homeassistant/sensor/other/config": "{}"}
    for topic, payload in foreign.items():
        observer.publish(topic, payload, retain=True)
    config = tmp_path / "config.toml"
    bridge = bridge_process(write_config(config, tables))
    observer.wait_for(AVAILABILITY, "online")
    observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")

    tables.setdefault(section, {})[key] = value
    write_config(config, tables)
    if running:
        bridge.send_signal(signal.SIGHUP)
    else:
        bridge.stop()
        bridge = bridge_process(config)
    observer.wait(
        lambda: (
            not [
                topic
                for topic, payload in observer.latest.items()
                if payload and topic.startswith(prefix) and topic not in foreign
            ]
        ),
        timeout=20,
    )
    assert foreign.items() <= observer.retained.items()
    base = "site/evse" if key == "base_topic" else "evse"
    observer.wait_for(f"{base}/bridge/availability", "online")
    observer.wait_for(f"{base}/{EXAMPLE_EVSE}/availability", "online")

    def is_discovered() -> bool:
        retained = observer.retained
        return any(EXAMPLE_EVSE in topic for topic in retained if topic.startswith(("homeassistant/", "ha/")))

    if key == "enabled":
        assert not is_discovered()
    else:
        observer.wait(is_discovered)


@pytest.mark.parametrize("running", [True, False], ids=["while running", "while not running"])
def test_changed_alias_or_removed_station_clears_topics(
    tmp_path: Path,
    tables: dict[str, Any],
    cloud: CloudServer,
    observer: Observer,
    bridge_process: Start,
    running: bool,
) -> None:
    other = "b" * 32
    cloud.answer(other, [plug_object(evse_uuid=other)])
    plug = status_example()[1]["plug_uuid"]
    tables["stations"] = [station_table(alias="north", plugs={plug: "left"}), station_table(other, alias="south")]
    config = tmp_path / "config.toml"
    bridge = bridge_process(write_config(config, tables))
    observer.wait_for(AVAILABILITY, "online")
    observer.wait_for("evse/north/left/availability", "online")
    observer.wait_for("evse/south/availability", "online")

    tables["stations"] = [station_table(alias="south", plugs={plug: "right"})]
    write_config(config, tables)
    if running:
        bridge.send_signal(signal.SIGHUP)
    else:
        bridge.stop()
        bridge_process(config)
    observer.wait_for("evse/south/right/power", "7107")
    observer.wait(
        lambda: (
            not [
                topic
                for topic, payload in observer.latest.items()
                if payload and (topic.startswith(("evse/north/", f"evse/south/{plug}/")) or other in topic)
            ]
        )
    )
    observer.sync()
    retained = observer.retained
    assert retained["evse/south/availability"] == "online"
    assert {topic.split("/")[2] for topic in retained if topic.startswith("evse/south/") and topic.count("/") == 3} == {
        "right",
        status_example()[0]["plug_uuid"],
    }
