"""Row 21 of the fault contract: a damaged configuration file, and damaged or foreign manifests on the broker."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.faults.setup import (
    PLUG,
    ReportRow,
    configure,
    log_entries,
    name_of,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for,
    wait_until_up,
)
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.bridge import clean_environment


def test_reload_of_damaged_file_keeps_current_configuration(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Row 21: a truncated, corrupt or missing file is logged each time; a valid one is applied afterwards."""
    for number in range(2):
        cloud.answer(uuid_of(number), station_answer(number))
    config = configure(tmp_path, broker, cloud, 1)
    good = config.read_bytes()
    damaged: dict[str, tuple[bytes | None, str]] = {
        "truncated": (good[: good.index(b"host") + 10], "is not valid TOML"),
        "truncated before the stations": (good[: good.index(b"[[stations]]")], "none is left"),
        "truncated after a line": (good[: good.index(b"[[stations]]")] + b"[[stations]]\n", "is missing"),
        "not text": (good.replace(b"[mqtt]", b"[mq\xff\x00tt]"), "is not UTF-8"),
        "zeros": (b"\0" * len(good), "is not valid TOML"),
        "merge conflict": (b"<<<<<<< mine\n" + good, "is not valid TOML"),
        "missing": (None, "no such file"),
    }
    rejected = "configuration_rejected"
    with running_bridge(config) as bridge:
        wait_until_up(observer)
        observer.wait_for(f"evse/{uuid_of(0)}/availability", "online")
        observer.sync()
        start = observer.count
        for kind, (content, problem) in damaged.items():
            count = len(log_entries(bridge, rejected))
            config.unlink() if content is None else config.write_bytes(content)
            bridge.send_signal(signal.SIGHUP)
            wait_for(partial(_has_more_entries, bridge, rejected, count), what=kind)
            entries = log_entries(bridge, rejected, level="error")[count:]
            assert problem in entries[0]["problem"], kind
            report_row(21, f"{kind}: {entries[0]['problem'].replace(str(tmp_path), '')}")
        cloud.wait_for_requests(len(cloud.requests) + 2)
        observer.sync()
        assert not [
            seen for seen in observer.messages_since(start) if seen.topic.startswith(("evse/", "homeassistant/"))
        ]
        configure(tmp_path, broker, cloud, 2)
        bridge.send_signal(signal.SIGHUP)
        observer.wait_for(f"evse/{uuid_of(1)}/availability", "online")


def _has_more_entries(bridge: BridgeProcess, event: str, count: int) -> bool:
    return len(log_entries(bridge, event)) > count


def _edit(config: Path, prefix: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `station add` under the command in `prefix`."""
    options = ["--edge-device-id", "edge-1", "--uuid", uuid_of(99), "--token-stdin", "--no-check"]
    command = [*prefix, sys.executable, "-m", "evse_mqtt_bridge", "station", "add", "--config", str(config), *options]
    return subprocess.run(
        command, input="token-99\n", capture_output=True, text=True, env=clean_environment(), timeout=30, check=False
    )


def test_edit_on_full_disk_keeps_the_file_unchanged(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, report_row: ReportRow
) -> None:
    """Row 21: a limit of 1 KiB per file makes the write fail half-way."""
    config = configure(tmp_path / "home", broker, cloud, 30)
    before = config.read_bytes()
    assert len(before) > 4096
    result = _edit(config, ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash"])
    assert result.returncode == 1
    assert result.stderr == f"{config} cannot be written and was not changed: File too large\n"
    assert config.read_bytes() == before
    assert list(config.parent.iterdir()) == [config]
    assert _edit(config, []).returncode == 0, "it succeeds without the limit"
    assert len(config.read_bytes()) > len(before)
    report_row(21, result.stderr.strip().replace(str(tmp_path), ""))


def test_edit_in_read_only_folder_keeps_the_file_unchanged(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, report_row: ReportRow
) -> None:
    """Row 21: the folder has mode 0555."""
    config = configure(tmp_path / "home", broker, cloud, 1)
    before = config.read_bytes()
    config.parent.chmod(0o555)
    try:
        # Root can write everywhere unless it drops that capability.
        result = _edit(config, ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else [])
    finally:
        config.parent.chmod(0o755)
    assert result.returncode == 1
    assert result.stderr == f"{config} cannot be written and was not changed: Permission denied\n"
    assert config.read_bytes() == before
    assert list(config.parent.iterdir()) == [config]
    report_row(21, result.stderr.strip().replace(str(tmp_path), ""))


def _info(**changed: object) -> str:
    """Return the `info` payload of a removed station as this bridge publishes it, with some values changed."""
    plugs = {PLUG: {"topic": PLUG, "label": "Plug"}}
    content = {"uuid": uuid_of(50), "name": "Gone", "plugs": plugs, "published_by": "evse-mqtt-bridge", "contract": 1}
    return json.dumps({**content, "discovery": {"prefix": "homeassistant", "form": "entity"}, **changed})


_FOREIGN = {
    "evse/no-json/info": "{",
    "evse/no-object/info": "[1]",
    "evse/deep/info": "[" * 100_000,
    "evse/digits/info": "9" * 10_000,
    "evse/bytes/info": "\x00\x01\x02",
    "evse/large/info": json.dumps({"published_by": "evse-mqtt-bridge", "uuid": "x" * 500_000}),
    "evse/another/info": _info(published_by="another-bridge"),
    "evse/no-plugs/info": _info(plugs=7),
    "evse/wild/info": _info(plugs={"+": {"topic": "#", "label": None}}),
    "evse/up/info": _info(plugs={PLUG: {"topic": "../../x", "label": None}}),
    "evse/wild-prefix/info": _info(discovery={"prefix": "#", "form": "entity"}, uuid="+"),
    "evse/bridge/info": json.dumps({"name": "evse-mqtt-bridge", "client_id": "evse-mqtt-bridge", "base_topic": "#/+"}),
    "site/bridge/info": json.dumps({"name": "evse-mqtt-bridge", "client_id": "evse-mqtt-bridge", "base_topic": "x"}),
    "somebody/else": "here",
    f"homeassistant/sensor/evse_{uuid_of(51)}_x/power/config": "{}",
}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_damaged_and_foreign_manifests_are_left_alone(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow, protocol: str
) -> None:
    """Row 21: corrupt, forged and foreign `info` topics stay; only the topics of this bridge's stations are cleared."""
    cloud.answer(uuid_of(0), station_answer(0))
    for topic, payload in _FOREIGN.items():
        observer.publish(topic, payload, retain=True)
    for number in range(500):
        observer.publish(f"evse/other-{number}/info", _info(published_by="another-bridge"), retain=True, qos=0)
    observer.publish("evse/gone/info", _info(), retain=True)
    observer.publish(f"evse/gone/{PLUG}/power", "5", retain=True)
    with running_bridge(configure(tmp_path, broker, cloud, mqtt={"protocol": protocol})) as bridge:
        wait_until_up(observer)
        observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/availability", "online")
        observer.wait(lambda: "evse/gone/info" not in observer.latest, what="the removed station to be cleared")
        observer.sync()
        remaining = observer.retained
        assert not [topic for topic in remaining if topic.startswith("evse/gone/")]
        replaced = {"evse/bridge/info"}
        assert {topic for topic in _FOREIGN if remaining.get(topic) != _FOREIGN[topic]} == replaced
        assert sum(topic.startswith("evse/other-") for topic in remaining) == 500
        assert json.loads(remaining["evse/bridge/info"])["base_topic"] == "evse"
        assert not log_entries(bridge, station=name_of(0), level="warning")
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
    report_row(
        21, f"MQTT {protocol}: {len(_FOREIGN) + 499} corrupt, forged and foreign topics unchanged, its own cleared"
    )
