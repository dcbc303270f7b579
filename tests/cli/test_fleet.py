"""The commands `fleet status` and `fleet drain`, and what `check --online` reports, with a real etcd."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.fleet.etcd import Etcd
from evse_mqtt_bridge.fleet.identity import Identity
from evse_mqtt_bridge.fleet.port import MemberRecord
from evse_mqtt_bridge.observability.fleet_snapshot import shard_ranges
from tests.harness import Mosquitto, write_config
from tests.harness.etcd import EtcdServer


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """A running etcd."""
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, etcd: EtcdServer) -> Path:
    """The configuration of a member of a fleet with four shards."""
    fleet = {"engine": "etcd", "endpoints": [etcd.url], "member": "m1", "shards": 4}
    tables = {"mqtt": {"host": "127.0.0.1"}, "http": {"enabled": False}, "fleet": fleet}
    return write_config(tmp_path / "config.toml", tables)


def invoke(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--config", str(config)])


def join(etcd: EtcdServer, name: str, held: tuple[int, ...], **changes: object) -> None:
    """Write a member and its shards into etcd, as a running bridge does."""

    async def write() -> None:
        engine = Etcd([etcd.url], Identity("evse", name, 60))
        fields = {"instance": f"{name}-1", "shards": 4, "digest": "a", "version": "0.1.0", "is_steady": True, **changes}
        await engine.beat(MemberRecord(name, **fields))  # type: ignore[arg-type]  # fields of a record
        for shard in held:
            await engine.claim(shard)
        await engine.aclose()

    asyncio.run(write())


def test_fleet_status_lists_members_and_shards(config: Path, etcd: EtcdServer) -> None:
    join(etcd, "m1", (0, 1, 3), page="http://m1.example.com:9480/")
    join(etcd, "m2", (2,), is_draining=True)
    result = invoke(config, "fleet", "status")
    assert (result.exit_code, result.stderr) == (0, "")
    first, empty, *table = result.stdout.splitlines()
    assert first.startswith("2 members, 4 of 4 shards held; engine ")
    assert [empty, *table] == [
        "",
        "MEMBER  STATE     SHARDS  NUMBERS  VERSION  PAGE",
        "m1      running   3       0-1, 3   0.1.0    http://m1.example.com:9480/",
        "m2      draining  1       2        0.1.0",
    ]


def test_fleet_status_with_free_shards_and_skew_warns(config: Path, etcd: EtcdServer) -> None:
    join(etcd, "m1", (0,), is_fit=False)
    join(etcd, "m2", (), digest="b", is_steady=False)
    result = invoke(config, "fleet", "status")
    assert result.exit_code == 1
    assert "m1      unfit " in result.stdout
    assert "m2      starting " in result.stdout
    assert result.stderr.splitlines() == [
        "warning: no member holds 1-3",
        "warning: members have different configurations; give all the same, and reload them",
    ]
    join(etcd, "m3", (), shards=8)
    assert "members have different numbers of shards" in invoke(config, "fleet", "status").stderr


def test_fleet_status_as_json(config: Path, etcd: EtcdServer) -> None:
    join(etcd, "m1", (0, 2))
    result = invoke(config, "fleet", "status", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found.keys() == {"engine", "free", "pause", "members"}
    assert (found["free"], found["pause"]) == ([1, 3], 0)
    [member] = found["members"]
    assert member == {
        "name": "m1",
        "state": "running",
        "shards": [0, 2],
        "version": "0.1.0",
        "digest": "a",
        "page": "",
    }


def test_fleet_status_of_an_empty_fleet(config: Path) -> None:
    result = invoke(config, "fleet", "status")
    assert (result.exit_code, result.stderr) == (1, "warning: no member holds 0-3\n")
    assert result.stdout.startswith("0 members, 0 of 4 shards held; engine ")


@pytest.mark.parametrize("command", [("fleet", "status"), ("fleet", "drain", "m1"), ("check", "--online")])
def test_fleet_commands_without_etcd_end_with_69(config: Path, etcd: EtcdServer, command: tuple[str, ...]) -> None:
    etcd.kill()
    result = invoke(config, *command)
    assert result.exit_code == 69
    assert f"etcd does not answer: {etcd.url}: connection refused" in result.stderr


@pytest.mark.parametrize("command", [("fleet", "status"), ("fleet", "drain")])
def test_fleet_commands_without_an_engine_are_wrong_usage(tmp_path: Path, command: tuple[str, ...]) -> None:
    config = write_config(tmp_path / "config.toml", {"mqtt": {"host": "127.0.0.1"}})
    result = invoke(config, *command)
    assert result.exit_code == 2
    assert 'requires [fleet] with engine "etcd" or "kubernetes"' in result.stderr


def test_fleet_drain_without_another_member_is_refused(config: Path, etcd: EtcdServer) -> None:
    join(etcd, "m1", (0,))
    join(etcd, "m2", (), is_fit=False)
    join(etcd, "m3", (), is_draining=True)
    result = invoke(config, "fleet", "drain")
    assert (result.exit_code, result.stderr) == (1, "there is no other member that can run the shards of m1\n")


def test_fleet_drain_of_an_unknown_member_is_refused(config: Path, etcd: EtcdServer) -> None:
    join(etcd, "m1", ())
    join(etcd, "m2", ())
    result = invoke(config, "fleet", "drain", "m9")
    assert (result.exit_code, result.stderr) == (1, "there is no member m9; alive are m1, m2\n")


def test_fleet_drain_waits_for_the_last_shard(config: Path, etcd: EtcdServer) -> None:
    join(etcd, "m1", (0, 1))
    join(etcd, "m2", ())
    result = invoke(config, "fleet", "drain", "--timeout", "1")
    assert result.exit_code == 1
    advice = "see its log; the request stays until `fleet drain m1 --undo`"
    assert result.stderr == f"m1 still holds 2 shards after 1 s; {advice}\n"
    assert "m1      draining" in invoke(config, "fleet", "status").stdout
    etcd.control("del", "--prefix", "/evse-mqtt-bridge/evse/shards/")
    result = invoke(config, "fleet", "drain", "m1")
    assert result.exit_code == 0
    assert result.stdout == "m1 holds no shard, and gets none until it restarts, or until `fleet drain m1 --undo`\n"
    result = invoke(config, "fleet", "drain", "m1", "--undo")
    assert (result.exit_code, result.stdout) == (0, "m1 may have shards again\n")
    assert "m1      running" in invoke(config, "fleet", "status").stdout


@pytest.mark.parametrize("command", [("fleet", "status"), ("fleet", "drain"), ("check", "--online")])
def test_rejected_password_is_explained_and_not_printed(
    config: Path, etcd: EtcdServer, command: tuple[str, ...], tmp_path: Path
) -> None:
    for arguments in (("user", "add", "root:x"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
        etcd.control(*arguments)
    (tmp_path / "password").write_text("canary-9-password\n")
    (tmp_path / "password").chmod(0o600)
    text = config.read_text().replace("[fleet]\n", '[fleet]\nusername = "bridge"\npassword_file = "password"\n')
    config.write_text(text)
    result = invoke(config, *command)
    assert result.exit_code == 69
    assert "rejected user bridge; check fleet.username and fleet.password_file" in result.stderr
    assert "canary-9" not in result.output


def test_check_online_reports_the_engine(config: Path, etcd: EtcdServer, broker: Mosquitto) -> None:
    join(etcd, "m1", (0,))
    environ = {"EVSE_MQTT_BRIDGE__MQTT__PORT": str(broker.port)}
    result = CliRunner(env=environ).invoke(cli, ["check", "--online", "--config", str(config)])
    assert result.exit_code == 0
    assert "\nengine etcd: 1 member, 1 of 4 shards held\n" in result.stdout


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2), "0-2"), ((9, 0, 2, 1, 5, 6), "0-2, 5-6, 9")]
)
def test_shard_ranges_are_short(numbers: tuple[int, ...], text: str) -> None:
    assert shard_ranges(numbers) == text
