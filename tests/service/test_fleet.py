"""Members of a fleet that share the stations through an engine, as processes, with a real broker."""

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.records import MeterRecord, Plug
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer, run_command
from tests.harness.cloud import EXAMPLE_PLUGS, Request, plug_object
from tests.harness.configuration import config_tables, station_table, write_config
from tests.harness.etcd import EtcdServer
from tests.harness.kubernetes import KubernetesServer
from tests.harness.loop_thread import LoopThread
from tests.service.conftest import Start

UUIDS = [f"station-{number}" for number in range(8)]
_SHARDS = 4
_TTL = 6


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


class _Members:
    """Starts members of a fleet with one configuration."""

    def __init__(self, start: Start, configure: Callable[[str, list[str], int, str], Path]) -> None:
        self._start = start
        self._configure = configure

    def start(self, name: str, *, shards: int = _SHARDS, history: str = "") -> BridgeProcess:
        """Start a member; one with a name that another process has uses its configuration.

        Args:
            name: Its name.
            shards: The number of shards of the fleet.
            history: The URL of the database; empty: none.
        """
        return self._start(self._configure(name, UUIDS, shards, history))

    def write(self, name: str, uuids: list[str]) -> None:
        self._configure(name, uuids, _SHARDS, "")


@pytest.fixture
def members(tmp_path: Path, broker: Mosquitto, cloud: CloudServer, etcd: EtcdServer, bridge_process: Start) -> _Members:
    """Members with etcd."""
    return _members({"engine": "etcd", "endpoints": [etcd.url]}, tmp_path, broker, cloud, bridge_process)


@pytest.fixture
def pods(tmp_path: Path, broker: Mosquitto, cloud: CloudServer, bridge_process: Start) -> Iterator[_Members]:
    """Members with Leases of a Kubernetes API server."""
    loop, server = LoopThread(), KubernetesServer()
    loop.start()
    loop.call(server.__aenter__())
    (tmp_path / "token").write_text("token")
    engine = {
        "engine": "kubernetes",
        "endpoints": [server.url],
        "namespace": "evse",
        "password_file": str(tmp_path / "token"),
    }
    yield _members(engine, tmp_path, broker, cloud, bridge_process)
    loop.call(server.__aexit__())
    loop.stop()


def _members(
    engine: dict[str, Any], tmp_path: Path, broker: Mosquitto, cloud: CloudServer, bridge_process: Start
) -> _Members:
    for uuid in UUIDS:
        cloud.answer(uuid, [plug_object(evse_uuid=uuid)], token=f"token-{uuid}")

    def configure(name: str, uuids: list[str], shards: int, history: str) -> Path:
        fleet = {**engine, "shards": shards, "ttl": _TTL, "member": name}
        stations = [station_table(uuid) for uuid in uuids]
        polling = {"interval": 1, "stale_after": 0, "heartbeat": 1}
        kept: dict[str, Any] = {"enabled": True, "url": history} if history else {}
        tables = config_tables(broker, cloud, stations, polling=polling, fleet=fleet, history=kept)
        return write_config(tmp_path / f"{name}.toml", tables)

    return _Members(bridge_process, configure)


def _shard_topic(shard: int) -> str:
    return "evse/bridge/availability" if shard == 0 else f"evse/bridge/{shard}/availability"


def _all_online(observer: Observer) -> bool:
    topics = [
        *(_shard_topic(shard) for shard in range(_SHARDS)),
        *(f"evse/{uuid}/{EXAMPLE_PLUGS[1]}/availability" for uuid in UUIDS),
    ]
    return all(observer.latest.get(topic) == "online" for topic in topics)


def _polled_since(cloud: CloudServer, uuids: Sequence[str] = UUIDS) -> Callable[[], bool]:
    """Return a condition that each of these stations was polled since now."""
    start = len(cloud.requests)
    return lambda: {request.uuid for request in cloud.requests[start:]} == set(uuids)


def _offline(observer: Observer, start: int = 0) -> list[str]:
    return [each.topic for each in observer.messages_since(start) if each.payload == "offline"]


def test_survivor_of_a_killed_member_runs_all_shards(
    members: _Members, cloud: CloudServer, observer: Observer, tmp_path: Path
) -> None:
    """Before that, a member with another number of shards is refused."""
    first, second = members.start("m1"), members.start("m2")
    observer.wait(lambda: _all_online(observer), 60, "all shards")
    first.wait_for_line("running a shard", 30)
    second.wait_for_line("running a shard", 30)
    other = members.start("m3", shards=8)
    other.assert_exit(78, 60)
    assert "fleet.shards: is 8, but member m" in other.stderr_text
    assert run_command("fleet", "status", "--config", tmp_path / "m1.toml").stdout.startswith("2 members, ")
    start = observer.count
    first.kill()
    second.wait_for_line("running a shard.*previous=m1", 60)
    observer.wait(_polled_since(cloud), 60, "polls of all stations")
    observer.sync()
    assert [topic for topic in _offline(observer, start) if "members" not in topic] == []


def test_frozen_member_gives_up_and_disturbs_nobody(members: _Members, observer: Observer) -> None:
    first, second = members.start("m1"), members.start("m2")
    observer.wait(lambda: _all_online(observer), 60, "all shards")
    first.wait_for_line("running a shard", 30)
    start = observer.count
    first.send_signal(signal.SIGSTOP)
    second.wait_for_line("running a shard.*previous=m1", 60)
    first.send_signal(signal.SIGCONT)
    first.wait_for_line("stopped a shard", 60)
    observer.wait(lambda: _all_online(observer), 60)
    observer.sync()
    assert [topic for topic in _offline(observer, start) if "members" not in topic] == []
    assert "client ID" not in second.stderr_text


def test_second_process_with_a_name_waits_for_the_first(members: _Members, observer: Observer, tmp_path: Path) -> None:
    """Before the first one stops, it rejects a base topic that would be the name of another fleet."""
    first = members.start("m1")
    observer.wait(lambda: _all_online(observer), 60, "all shards")
    second, start = members.start("m1"), observer.count
    second.wait_for_line("another process has this member name", 60)
    config = tmp_path / "m1.toml"
    config.write_text(config.read_text().replace("[mqtt]\n", '[mqtt]\nbase_topic = "other"\n'))
    first.send_signal(signal.SIGHUP)
    first.wait_for_line("mqtt.base_topic: names the fleet in the engine", 60)
    first.stop(60)
    second.wait_for_line("running a shard", 60)
    observer.wait(lambda: _all_online(observer), 60)
    topics = [each.payload for each in observer.messages_since(start) if each.topic == "evse/bridge/members/m1"]
    assert topics == ["", "online"]
    assert "lost" not in first.stderr_text


def test_members_agree_on_a_removal_and_hand_over(members: _Members, cloud: CloudServer, observer: Observer) -> None:
    """A station removed by reloads is cleared only after both; then the members stop one after the other."""
    first, second = members.start("m1"), members.start("m2")
    observer.wait(lambda: _all_online(observer), 60, "all shards")
    removed = UUIDS[-1]
    start = observer.count
    members.write("m1", UUIDS[:-1])
    first.send_signal(signal.SIGHUP)
    first.wait_for_line("different configurations", 60)
    second.wait_for_line("different configurations", 60)
    observer.sync()
    assert not [each.topic for each in observer.messages_since(start) if not each.payload]
    members.write("m2", UUIDS[:-1])
    second.send_signal(signal.SIGHUP)
    observer.wait(lambda: not any(removed in topic for topic in observer.retained), 60, "the clean-up")
    start = observer.count
    first.stop(60)
    assert "evse/bridge/members/m1" not in observer.retained
    observer.wait(_polled_since(cloud, UUIDS[:-1]), 60, "polls of all stations")
    observer.sync()
    assert _offline(observer, start) == []
    second.stop(60)
    observer.sync()
    assert {_shard_topic(shard) for shard in range(_SHARDS)} <= set(_offline(observer, start))


def _measured_now(request: Request) -> list[Any]:
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [plug_object(evse_uuid=request.uuid, status="idle", power=0, time=time)]


def test_counters_of_begun_shards_continue_the_history(
    members: _Members, cloud: CloudServer, observer: Observer, tmp_path: Path
) -> None:
    """The broker has no record, so the history is the only one."""
    url, plug = f"sqlite:///{tmp_path}/history.sqlite", EXAMPLE_PLUGS[1]
    counted = PlugReading(plug, status="idle", power=0.0, time=datetime(2020, 1, 1, tzinfo=UTC))
    database = Database(url)
    database.write([MeterRecord(Plug(uuid, plug), Meter(5000.0, counted=counted)) for uuid in UUIDS], {})
    database.close()
    for uuid in UUIDS:
        cloud.answer(uuid, _measured_now, token=f"token-{uuid}")
    members.start("m1", history=url)
    topics = [f"evse/{uuid}/{plug}/energy" for uuid in UUIDS]
    observer.wait(lambda: all(topic in observer.latest for topic in topics), 60, "all counters")
    assert [observer.latest[topic] for topic in topics] == ["5"] * len(UUIDS)


def test_drained_member_hands_over_all_its_shards(members: _Members, observer: Observer, tmp_path: Path) -> None:
    first, second = members.start("m1"), members.start("m2")
    observer.wait(lambda: _all_online(observer), 60, "all shards")
    first.wait_for_line("running a shard", 30)
    second.wait_for_line("running a shard", 30)
    config, start = tmp_path / "m2.toml", observer.count
    result = run_command("fleet", "drain", "m1", "--config", config)
    assert (result.returncode, result.stderr) == (0, "")
    first.wait_for_line("handed over a shard.*successor=m2", 30)
    assert re.search(r"^m1 +draining +0 ", run_command("fleet", "status", "--config", config).stdout, re.MULTILINE)
    observer.wait(lambda: _all_online(observer), 60)
    observer.sync()
    assert _offline(observer, start) == []


def test_survivor_of_a_killed_pod_runs_all_shards(pods: _Members, cloud: CloudServer, observer: Observer) -> None:
    first, second = pods.start("m1"), pods.start("m2")
    observer.wait(lambda: _all_online(observer), 60, "all shards")
    first.wait_for_line("running a shard", 30)
    second.wait_for_line("running a shard", 30)
    start = observer.count
    first.kill()
    second.wait_for_line("running a shard.*previous=m1", 60)
    observer.wait(_polled_since(cloud), 60, "polls of all stations")
    observer.sync()
    assert [topic for topic in _offline(observer, start) if "members" not in topic] == []
    second.stop(60)
    observer.sync()
    assert {_shard_topic(shard) for shard in range(_SHARDS)} <= set(_offline(observer, start))
