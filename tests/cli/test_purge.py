"""`purge` against a real broker, after a real bridge."""

import json
from pathlib import Path

import pytest

from tests.harness import (
    BridgeProcess,
    CloudServer,
    Mosquitto,
    Observer,
    config_tables,
    invoke_command,
    retained_messages,
    run_command,
    station_table,
    status_example,
    write_config,
)
from tests.harness.cloud import EXAMPLE_EVSE

FOREIGN = {"evse/other/thing": "1", "homeassistant/sensor/other/config": "{}"}
OTHER = "another-station"


@pytest.fixture
def config(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> Path:
    """A configuration whose two stations a bridge published before; the broker also retains foreign topics."""
    cloud.answer(EXAMPLE_EVSE, status_example())
    plug = {**status_example()[0], "plug_uuid": "p", "evse_uuid": OTHER}
    cloud.answer(OTHER, [plug])
    stations = [station_table(), station_table(OTHER)]
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, stations, polling={"stale_after": 0}))
    with Observer(broker.port) as observer:
        for topic, payload in FOREIGN.items():
            observer.publish(topic, payload, retain=True)
        with BridgeProcess.run(config) as bridge:
            for station in (EXAMPLE_EVSE, OTHER):
                observer.wait_for(f"evse/{station}/availability", "online")
            bridge.stop()
    return config


def topics(broker: Mosquitto) -> set[str]:
    return set(retained_messages(broker.port))


def test_purge_all_clears_only_topics_of_the_bridge(config: Path, broker: Mosquitto) -> None:
    before = topics(broker)
    assert {"evse/bridge/info", f"evse/{OTHER}/p/state"} < before
    plain = run_command("purge", "--yes", "--config", config)
    assert (plain.returncode, plain.stderr) == (0, "nothing to clear\n")
    listed = run_command("purge", "--all", "--config", config)
    count = len(before - FOREIGN.keys())
    assert listed.returncode == 0
    assert set(listed.stdout.splitlines()) == before - FOREIGN.keys()
    command = f"evse-mqtt-bridge purge --all --yes --config {config}"
    assert listed.stderr == f"{count} topics can be cleared; to clear, run: {command}\n"
    assert topics(broker) == before
    cleared = run_command("purge", "--all", "--yes", "--config", config)
    assert (cleared.returncode, cleared.stderr) == (0, f"cleared: {count}\n")
    assert topics(broker) == set(FOREIGN)


def test_purge_unreadable_discovery_is_cleared_by_manifest(tmp_path: Path, cloud: CloudServer) -> None:
    """With the access rules of docs/security.md, the bridge may write discovery but not read it."""
    cloud.answer(EXAMPLE_EVSE, status_example())
    page = (Path(__file__).parents[2] / "docs/security.md").read_text()
    rules = page[page.index("user bridge\n") :].split("```")[0]
    (tmp_path / "acl").write_text(rules + "\nuser reader\ntopic readwrite #\n")
    with Mosquitto(tmp_path / "broker", extra=[f"acl_file {tmp_path / 'acl'}"]) as broker:
        tables = config_tables(
            broker, cloud, mqtt={"username": "bridge", "password": "any"}, polling={"stale_after": 0}
        )
        config = write_config(tmp_path / "config.toml", tables)
        with Observer(broker.port, username="reader", password="any") as observer:
            with BridgeProcess.run(config) as bridge:
                observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
                bridge.stop()
            assert any(topic.startswith("homeassistant/") for topic in observer.retained)
            assert invoke_command("purge", "--all", "--yes", "--config", config).returncode == 0
            assert observer.retained == {}


@pytest.mark.parametrize("qos", [1, 2])
def test_purge_broker_rejects_counts_nothing_as_cleared(tmp_path: Path, cloud: CloudServer, qos: int) -> None:
    rules = tmp_path / "acl"
    rules.write_text("user bridge\ntopic read #\nuser reader\ntopic readwrite #\n")
    login = {"username": "bridge", "password": "any", "qos": qos}
    with Mosquitto(tmp_path / "broker", extra=[f"acl_file {rules}"]) as broker:
        config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, mqtt=login))
        with Observer(broker.port, username="reader", password="any") as observer:
            info = {"uuid": OTHER, "published_by": "evse-mqtt-bridge", "plugs": {}}
            observer.publish(f"evse/{OTHER}/info", json.dumps(info), retain=True)
            refused = invoke_command("purge", "--yes", "--config", config)
            assert refused.returncode == 69
            assert "cleared: 0" in refused.stderr
            assert "the broker does not allow this user to clear" in refused.stderr
            assert observer.retained


def test_purge_all_bridge_online_clears_nothing(config: Path, broker: Mosquitto, observer: Observer) -> None:
    with BridgeProcess.run(config) as bridge:
        observer.wait_for("evse/bridge/availability", "online")
        observer.wait_for(f"evse/{OTHER}/availability", "online")
        before = topics(broker)
        refused = invoke_command("purge", "--all", "--yes", "--config", config)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("the bridge is online, so nothing was cleared; stop it first ")
        assert "mosquitto_pub -r -t evse/bridge/availability -m offline" in refused.stderr
        assert topics(broker) == before
        bridge.stop()


def test_purge_without_all_keeps_configured_stations(config: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    before = topics(broker)
    write_config(config, config_tables(broker, cloud, polling={"stale_after": 0}))
    cleared = invoke_command("purge", "--yes", "--config", config)
    assert cleared.returncode == 0
    assert {topic for topic in before - topics(broker) if topic.startswith("evse/")} == {
        topic for topic in before if topic.startswith(f"evse/{OTHER}/")
    }
    assert "evse/bridge/info" in topics(broker)


def test_purge_all_keeps_what_another_live_bridge_claims(config: Path, broker: Mosquitto, observer: Observer) -> None:
    """The other one has the same station and plug under another client id and base topic."""
    plugs = {"p": {"topic": "p", "label": None}}
    discovery = {"prefix": "homeassistant", "form": "entity"}
    other = {"client_id": "live", "base_topic": "live", "name": "evse-mqtt-bridge", "discovery": discovery}
    station = {"uuid": OTHER, "plugs": plugs, "published_by": "live", "discovery": discovery}
    observer.publish("live/bridge/info", json.dumps(other), retain=True)
    observer.publish("live/bridge/availability", "online", retain=True)
    observer.publish("live/x/info", json.dumps(station), retain=True)
    before = topics(broker)
    claimed = {topic for topic in before if topic.startswith("homeassistant/") and f"/evse_{OTHER}" in topic}
    assert len(claimed) > 10
    assert invoke_command("purge", "--all", "--yes", "--config", config).returncode == 0
    assert topics(broker) - set(FOREIGN) - {topic for topic in before if topic.startswith("live/")} == claimed
    observer.publish("live/bridge/availability", "offline", retain=True)
    # The first purge cleared the manifest, so that only the discovery payloads name the bridge.
    assert invoke_command("purge", "--all", "--yes", "--config", config).returncode == 0
    assert not topics(broker) & claimed


def test_purge_names_base_topics_that_anybody_can_forge(config: Path, broker: Mosquitto, observer: Observer) -> None:
    entry = {"name": "evse-mqtt-bridge", "client_id": "evse-mqtt-bridge", "base_topic": "myapp", "discovery": None}
    observer.publish("myapp/bridge/info", json.dumps(entry), retain=True)
    listed = invoke_command("purge", "--config", config)
    assert listed.stdout == "myapp/bridge/info\n"
    assert listed.stderr.startswith("1 topic below myapp/: only myapp/bridge/info names this bridge")
    assert invoke_command("purge", "--yes", "--config", config).returncode == 0
    assert "myapp/bridge/info" not in topics(broker)
