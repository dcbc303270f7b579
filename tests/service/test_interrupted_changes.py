"""Changes of the configuration that are interrupted, and followed by another change: no topic stays behind."""

import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue
from tests.harness import CloudServer, Mosquitto, Observer, plug_object, run_command
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.configuration import config_tables, station_table, write_config
from tests.harness.proxy import Proxy
from tests.service.conftest import Start

_STATIONS = {f"{number:032x}": (f"left{number}", f"right{number}") for number in range(60)}
"""The plugs of each station, by uuid."""


def _with_plugs(*aliases: str) -> list[dict[str, Any]]:
    """Return stations with these aliases of their plugs."""
    return [
        station_table(uuid, alias=f"a{number}", plugs=dict(zip(plugs, aliases, strict=False)))
        for number, (uuid, plugs) in enumerate(_STATIONS.items())
    ]


def _exchanged(by: int) -> list[dict[str, Any]]:
    """Return stations each of which has the alias that `_with_plugs` gives to the one `by` places after it."""
    count = len(_STATIONS)
    return [station_table(uuid, alias=f"a{(number + by) % count}") for number, uuid in enumerate(_STATIONS)]


_CHANGES = {
    "other aliases of plugs": (_with_plugs("left", "right"), _with_plugs("front", "back")),
    "exchanged aliases": (_exchanged(1), _exchanged(2)),
}


def _topics(tables: Mapping[str, Any]) -> set[str]:
    """Return every retained topic of a configuration."""
    config = Config.model_validate(tables)
    plan = publishing_plan(config)
    stations = tuple(plan.stations.values())
    inventory = Inventory(plan.topics, plan.client_id, 1, stations, plan.locations, _STATIONS)
    return {row.topic for row in catalogue(inventory) if row.retained}


@pytest.mark.parametrize(
    ("change", "after", "interruption"),
    [
        ("other aliases of plugs", 300, "stopped"),
        ("other aliases of plugs", 3000, "killed"),
        ("exchanged aliases", 300, "killed"),
        ("exchanged aliases", 3000, "connection lost"),
    ],
)
def test_change_after_an_interrupted_one_leaves_nothing(
    tmp_path: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    observer: Observer,
    bridge_process: Start,
    change: str,
    after: int,
    interruption: str,
) -> None:
    for uuid, plugs in _STATIONS.items():
        cloud.answer(uuid, [plug_object(plug_uuid=plug, evse_uuid=uuid) for plug in plugs])
    first, second = _CHANGES[change]
    with Proxy(broker.port) as proxy:
        tables = config_tables(broker, cloud, _with_plugs(), mqtt={"port": proxy.port})
        tables["polling"] = {"interval": 2, "stale_after": 0}
        config = write_config(tmp_path / "config.toml", tables)
        bridge = bridge_process(config)
        initial = _topics(tables)
        observer.wait(lambda: initial <= observer.latest.keys(), what="every topic")
        start = observer.count
        write_config(config, tables | {"stations": first})
        bridge.send_signal(signal.SIGHUP)
        observer.wait(lambda: observer.count >= start + after, what="the first messages of the change")
        tables["stations"] = second
        match interruption:
            case "killed":
                bridge.kill()
            case "stopped":
                bridge.stop()
            case _:
                proxy.cut(new_after=3600)
        start = observer.count
        write_config(config, tables)
        if interruption == "connection lost":
            lines = len(bridge.stderr)
            bridge.send_signal(signal.SIGHUP)
            bridge.wait_for_line("configuration reloaded", since=lines)
            proxy.restore()
        else:
            bridge = bridge_process(config)
        expected = _topics(tables)
        observer.wait(lambda: _is_complete(observer, expected, start), what="a full republish")
        with contextlib.suppress(AssertionError):
            observer.wait(lambda: not observer.latest.keys() - expected, timeout=10)
        bridge.stop()
        orphans = observer.retained.keys() - expected
        assert not orphans, f"{len(orphans)} orphans, such as {min(orphans)}"


def _is_complete(observer: Observer, expected: set[str], start: int) -> bool:
    """Return whether every expected topic is retained, and `online` was published after the first `start` messages."""
    is_online = observer.payloads("evse/bridge/availability", start)[-1:] == ["online"]
    return is_online and expected <= observer.latest.keys()


def _with_base(tables: dict[str, Any], base: str) -> dict[str, Any]:
    return {**tables, "mqtt": {**tables["mqtt"], "base_topic": base}}


def test_base_topics_of_a_moment_leave_nothing(
    config: Path, tables: dict[str, Any], observer: Observer, bridge_process: Start
) -> None:
    bridge = bridge_process(config)
    observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
    for base in ("b1", "b2", "b3", "b4", "site/evse"):
        write_config(config, _with_base(tables, base))
        lines = len(bridge.stderr)
        bridge.send_signal(signal.SIGHUP)
        bridge.wait_for_line("connected to the broker", since=lines)
    _wait_until_only(observer, "site/evse")
    bridge.stop()
    observer.sync()
    assert not [topic for topic in observer.latest if not topic.startswith(("site/evse/", "homeassistant/"))]


@pytest.mark.parametrize(("interruption", "bases"), [("killed", ["b1"]), ("stopped", ["b1", "b2", "b3"])])
def test_base_topic_changed_while_stopped_leaves_nothing(
    config: Path,
    tables: dict[str, Any],
    observer: Observer,
    bridge_process: Start,
    interruption: str,
    bases: list[str],
) -> None:
    for base in bases:
        bridge = bridge_process(write_config(config, _with_base(tables, base)))
        observer.wait_for(f"{base}/bridge/info")
        bridge.kill() if interruption == "killed" else bridge.stop()
        observer.wait_for(f"{base}/bridge/availability", "offline")
    purge = run_command("purge", "--config", write_config(config, _with_base(tables, "site/evse")))
    assert {topic.split("/")[0] for topic in purge.stdout.splitlines()} >= set(bases)
    bridge = bridge_process(config)
    _wait_until_only(observer, "site/evse")
    bridge.stop()


def _wait_until_only(observer: Observer, base: str) -> None:
    """Wait until the bridge is online under a base topic, and until nothing is retained under others."""

    def is_so() -> bool:
        topics = [topic for topic in observer.latest if not topic.startswith("homeassistant/")]
        return all(topic.startswith(f"{base}/") for topic in topics)

    observer.wait_for(f"{base}/bridge/availability", "online")
    observer.wait(is_so, what="only this base topic", timeout=15)
