"""A bridge whose stations are divided into shards, on a real broker."""

import json
import signal
import socket
from functools import partial
from pathlib import Path

from evse_mqtt_bridge.domain.shards import shard_of
from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_PLUGS, plug_object
from tests.harness.configuration import config_tables, station_table, write_config
from tests.service.conftest import Start

UUIDS = [f"station-{number}" for number in range(12)]
PLUG = EXAMPLE_PLUGS[1]


def test_change_of_shards_clears_nothing_but_a_removed_station(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    """One bridge, then 4 shards, then 16 without one station, then one bridge again."""
    for uuid in UUIDS:
        cloud.answer(uuid, [plug_object(evse_uuid=uuid)], token=f"token-{uuid}")
    kept, removed = UUIDS[:-1], UUIDS[-1]
    trees: list[set[str]] = []
    for shards, uuids in ((0, UUIDS), (4, UUIDS), (16, kept), (0, kept)):
        start = observer.count
        with bridge_process(_write(tmp_path, broker, cloud, shards, uuids)) as bridge:
            observer.wait(partial(_is_complete, observer, shards, uuids), 60, f"{shards} shards")
            bridge.stop(60)
        observer.sync()
        trees.append(set(observer.latest))
        cleared = {message.topic for message in observer.messages_since(start) if not message.payload}
        others = {each for each in cleared if removed not in each and not each.startswith("evse/bridge/")}
        assert not others, shards
    single, four, sixteen, again = trees
    assert four - single == {f"{prefix}/{name}" for prefix in _prefixes(4)[1:] for name in ("availability", "info")}
    assert single <= four
    assert single - again == {each for each in single if removed in each}
    assert again <= single
    assert _without_shards(sixteen) == again


def _is_complete(observer: Observer, shards: int, uuids: list[str]) -> bool:
    """Return whether these stations and shards are online, and no others are left."""
    tree = observer.latest
    online = {each.rpartition("/")[0] for each, payload in tree.items() if payload == "online"}
    expected = {*_prefixes(shards), *(f"evse/{uuid}" for uuid in uuids), *(f"evse/{uuid}/{PLUG}" for uuid in uuids)}
    infos = [payload for topic, payload in tree.items() if topic.endswith("/info")]
    prefixes = {each.rpartition("/")[0] for each in tree if each.startswith("evse/bridge/")}
    stations = {each.split("/")[1] for each in tree if each.startswith("evse/")} - {"bridge"}
    is_clear = not any("previous" in info for info in infos)
    return online == expected and prefixes == set(_prefixes(shards)) and stations == set(uuids) and is_clear


def _without_shards(tree: set[str]) -> set[str]:
    return {each for each in tree if not each.startswith("evse/bridge/") or each.count("/") == 2}


def _prefixes(shards: int) -> list[str]:
    return ["evse/bridge", *(f"evse/bridge/{shard}" for shard in range(1, shards))]


def _write(
    folder: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    shards: int,
    uuids: list[str],
    share: str = "0/1",
    member: str = "",
) -> Path:
    # The broker delays the will for two minutes, so that a slow start of a process does not matter.
    settings = {"engine": "static", "shards": shards, "share": share, "member": member, "ttl": 60}
    fleet = {"fleet": settings} if shards else {}
    tables = config_tables(broker, cloud, [station_table(uuid) for uuid in uuids], polling={"stale_after": 0}, **fleet)
    return write_config(folder / "config.toml", tables)


def test_members_with_static_shares_split_stations_and_requests(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    """Two members: each polls and publishes its own part; one that is killed and returns was never `offline`."""
    for uuid in UUIDS:
        cloud.answer(uuid, [plug_object(evse_uuid=uuid)], token=f"token-{uuid}")
    configs = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        configs.append(_write(folder, broker, cloud, 2, UUIDS, f"{number}/2", f"member-{number}"))
    first = bridge_process(configs[0])
    observer.wait_for("evse/bridge/availability", "online", 60)
    of_first = {uuid for uuid in UUIDS if shard_of(uuid, 2) == 0}
    observer.wait(lambda: {f"evse/{uuid}/availability" for uuid in of_first} <= observer.latest.keys(), 60)
    assert {request.uuid for request in cloud.requests} == of_first
    assert {each.split("/")[1] for each in observer.latest if each.startswith("evse/")} == {*of_first, "bridge"}
    bridge_process(configs[1])
    observer.wait(partial(_is_complete, observer, 2, UUIDS), 60, "both members")
    infos = {shard: json.loads(observer.latest[f"{prefix}/info"]) for shard, prefix in enumerate(_prefixes(2))}
    assert {shard: (info["client_id"], info["holder"], info["stations"]) for shard, info in infos.items()} == {
        0: ("evse-mqtt-bridge", "member-0", len(of_first)),
        1: ("evse-mqtt-bridge", "member-1", len(UUIDS) - len(of_first)),
    }
    start = observer.count
    first.kill()
    again = bridge_process(configs[0])
    observer.wait(lambda: "online" in observer.payloads("evse/bridge/availability", start), 60, "the member's return")
    again.stop(60)
    observer.wait(lambda: "offline" in observer.payloads("evse/bridge/availability", start), 60, "its stop")
    assert observer.payloads("evse/bridge/availability", start) == ["online", "offline"]
    assert not observer.payloads("evse/bridge/1/availability", start)


def test_reload_of_shares_and_aliases_leaves_no_orphans(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    """Reloads that give the process another shard, move an alias between the two, and pass one on to another member."""
    first, second = (next(uuid for uuid in UUIDS if shard_of(uuid, 2) == shard) for shard in range(2))
    for uuid in (first, second):
        cloud.answer(uuid, [plug_object(evse_uuid=uuid, plug_uuid=f"plug-{uuid}")], token=f"token-{uuid}")

    def write(aliases: tuple[str, str], share: str) -> Path:
        stations = [station_table(uuid, alias=alias) for uuid, alias in zip((first, second), aliases, strict=True)]
        fleet = {"engine": "static", "shards": 2, "share": share, "ttl": 60}
        tables = config_tables(broker, cloud, stations, polling={"stale_after": 0}, fleet=fleet)
        return write_config(tmp_path / "config.toml", tables)

    def has_exactly(*plugs: str) -> bool:
        parents = {each.rpartition("/")[0] for each in observer.latest if each.startswith("evse/")}
        online = {each for each in plugs if observer.latest.get(f"{each}/availability") == "online"}
        bridges = {each for each in parents if each.startswith("evse/bridge")}
        return parents - bridges == {*plugs, *(each.rpartition("/")[0] for each in plugs)} and online == set(plugs)

    bridge = bridge_process(write(("a", "b"), "0"))
    observer.wait(lambda: has_exactly(f"evse/a/plug-{first}"), 60, "the first shard")
    write(("a", "b"), "0-1")
    bridge.send_signal(signal.SIGHUP)
    observer.wait(lambda: has_exactly(f"evse/a/plug-{first}", f"evse/b/plug-{second}"), 60, "both shards")
    write(("b", "a"), "0-1")
    bridge.send_signal(signal.SIGHUP)
    observer.wait(lambda: has_exactly(f"evse/b/plug-{first}", f"evse/a/plug-{second}"), 60, "swapped aliases")
    write(("b", "a"), "0")
    lines = len(bridge.stderr)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration applied|reloaded", 60, since=lines)
    requests = len(cloud.requests)
    start = observer.count
    other = tmp_path / "other.toml"
    other.write_text(write(("b", "a"), "1").read_text())
    other.chmod(0o600)
    bridge_process(other)
    observer.wait(lambda: "online" in observer.payloads("evse/bridge/1/availability", start), 60, "the other member")
    observer.wait(lambda: {request.uuid for request in cloud.requests[requests:]} == {first, second}, 60)
    assert "offline" not in observer.payloads("evse/bridge/availability")
    assert "offline" not in observer.payloads("evse/bridge/1/availability"), "it was handed over"
    assert has_exactly(f"evse/b/plug-{first}", f"evse/a/plug-{second}")


def test_one_shard_publishes_the_same_as_no_fleet(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    """All topics and payloads are the same, but the `info` of the bridge names the holder."""
    uuids = UUIDS[:2]
    for uuid in uuids:
        cloud.answer(uuid, [plug_object(evse_uuid=uuid)], token=f"token-{uuid}")
    trees = []
    for shards in (0, 1):
        start = observer.count
        bridge = bridge_process(_write(tmp_path, broker, cloud, shards, uuids))
        observer.wait(lambda: "online" in observer.payloads("evse/bridge/availability", start), 60)  # noqa: B023
        observer.wait(lambda: _is_complete(observer, 0, uuids), 60)
        bridge.stop(60)
        observer.sync()
        trees.append(dict(observer.latest))
    infos = [json.loads(tree.pop("evse/bridge/info")) for tree in trees]
    assert trees[0] == trees[1]
    assert all(info.pop("started") for info in infos)
    assert infos[1] == {**infos[0], "shards": 1, "holder": socket.gethostname(), "claim": 0}
