"""Row 21 of the fault contract: what is remembered, in the configuration file and on the broker, when it is spoilt."""

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


def test_a_spoilt_file_at_reload_leaves_the_old_one_in_force(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Row 21: cut off, corrupt, not text, away; each is said, and a good one is taken over afterwards."""
    for number in range(2):
        cloud.answer(uuid_of(number), station_answer(number))
    config = configure(tmp_path, broker, cloud, 1)
    good = config.read_bytes()
    spoilt: dict[str, tuple[bytes | None, str]] = {
        "cut off": (good[: good.index(b"host") + 10], "is not TOML"),
        "cut off before the stations": (good[: good.index(b"[[stations]]")], "none is left"),
        "cut off at the end of a line": (good[: good.index(b"[[stations]]")] + b"[[stations]]\n", "is missing"),
        "bytes": (good.replace(b"[mqtt]", b"[mq\xff\x00tt]"), "is not UTF-8"),
        "noughts": (b"\0" * len(good), "is not TOML"),
        "a merge": (b"<<<<<<< mine\n" + good, "is not TOML"),
        "away": (None, "there is no such file"),
    }
    refusal = "the changed configuration is wrong, the old one stays in force"
    with running_bridge(config) as bridge:
        wait_until_up(observer)
        observer.wait_for(f"evse/{uuid_of(0)}/availability", "online")
        observer.sync()
        start = observer.count
        for kind, (content, words) in spoilt.items():
            told = len(log_entries(bridge, refusal))
            config.unlink() if content is None else config.write_bytes(content)
            bridge.send_signal(signal.SIGHUP)
            wait_for(partial(_told_more, bridge, refusal, told), what=kind)
            refused = log_entries(bridge, refusal, level="error")[told:]
            assert words in refused[0]["problem"], kind
            report_row(21, f"{kind}: {refused[0]['problem'].replace(str(tmp_path), '')}")
        cloud.wait_for_requests(len(cloud.requests) + 2)
        observer.sync()
        assert not [
            seen for seen in observer.messages_since(start) if seen.topic.startswith(("evse/", "homeassistant/"))
        ]
        configure(tmp_path, broker, cloud, 2)
        bridge.send_signal(signal.SIGHUP)
        observer.wait_for(f"evse/{uuid_of(1)}/availability", "online")


def _told_more(bridge: BridgeProcess, message: str, than: int) -> bool:
    return len(log_entries(bridge, message)) > than


def _edit(config: Path, prefix: list[str]) -> subprocess.CompletedProcess[str]:
    """`station add`, in circumstances that `prefix` makes."""
    options = ["--edge-device-id", "edge-1", "--uuid", uuid_of(99), "--token-stdin", "--no-check"]
    command = [*prefix, sys.executable, "-m", "evse_mqtt_bridge", "station", "add", "--config", str(config), *options]
    return subprocess.run(
        command, input="token-99\n", capture_output=True, text=True, env=clean_environment(), timeout=30, check=False
    )


def test_an_edit_on_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, report_row: ReportRow
) -> None:
    """Row 21: no file can grow beyond 1 KiB, so that writing stops in the middle."""
    config = configure(tmp_path / "home", broker, cloud, 30)
    before = config.read_bytes()
    assert len(before) > 4096
    ended = _edit(config, ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash"])
    assert ended.returncode == 1
    assert ended.stderr == f"{config} cannot be written, and is what it was: File too large\n"
    assert config.read_bytes() == before
    assert list(config.parent.iterdir()) == [config]
    assert _edit(config, []).returncode == 0, "with room for it, it goes"
    assert len(config.read_bytes()) > len(before)
    report_row(21, ended.stderr.strip().replace(str(tmp_path), ""))


def test_an_edit_in_a_folder_that_cannot_be_written_leaves_the_file_as_it_was(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, report_row: ReportRow
) -> None:
    """Row 21."""
    config = configure(tmp_path / "home", broker, cloud, 1)
    before = config.read_bytes()
    config.parent.chmod(0o555)
    try:
        # Root may write anywhere, unless that right is taken away.
        ended = _edit(config, ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else [])
    finally:
        config.parent.chmod(0o755)
    assert ended.returncode == 1
    assert ended.stderr == f"{config} cannot be written, and is what it was: Permission denied\n"
    assert config.read_bytes() == before
    assert list(config.parent.iterdir()) == [config]
    report_row(21, ended.stderr.strip().replace(str(tmp_path), ""))


def _mine(**changed: object) -> str:
    """The `info` of a station that this bridge could have left."""
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
    "evse/another/info": _mine(published_by="another-bridge"),
    "evse/no-plugs/info": _mine(plugs=7),
    "evse/wild/info": _mine(plugs={"+": {"topic": "#", "label": None}}),
    "evse/up/info": _mine(plugs={PLUG: {"topic": "../../x", "label": None}}),
    "evse/wild-prefix/info": _mine(discovery={"prefix": "#", "form": "entity"}, uuid="+"),
    "evse/bridge/info": json.dumps({"name": "evse-mqtt-bridge", "client_id": "evse-mqtt-bridge", "base_topic": "#/+"}),
    "site/bridge/info": json.dumps({"name": "evse-mqtt-bridge", "client_id": "evse-mqtt-bridge", "base_topic": "x"}),
    "somebody/else": "here",
    f"homeassistant/sensor/evse_{uuid_of(51)}_x/power/config": "{}",
}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_spoilt_memory_on_the_broker_is_set_aside(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow, protocol: str
) -> None:
    """Row 21: `info` topics that are corrupt, forged or somebody else's; nothing of anybody else is touched."""
    cloud.answer(uuid_of(0), station_answer(0))
    for topic, payload in _FOREIGN.items():
        observer.publish(topic, payload, retain=True)
    for number in range(500):
        observer.publish(f"evse/other-{number}/info", _mine(published_by="another-bridge"), retain=True, qos=0)
    observer.publish("evse/gone/info", _mine(), retain=True)
    observer.publish(f"evse/gone/{PLUG}/power", "5", retain=True)
    with running_bridge(configure(tmp_path, broker, cloud, mqtt={"protocol": protocol})) as bridge:
        wait_until_up(observer)
        observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/availability", "online")
        observer.wait(lambda: "evse/gone/info" not in observer.latest, what="what is its own to be cleared")
        observer.sync()
        left = observer.retained
        assert not [topic for topic in left if topic.startswith("evse/gone/")]
        mine = {"evse/bridge/info"}
        assert {topic for topic in _FOREIGN if left.get(topic) != _FOREIGN[topic]} == mine
        assert sum(topic.startswith("evse/other-") for topic in left) == 500
        assert json.loads(left["evse/bridge/info"])["base_topic"] == "evse"
        assert not log_entries(bridge, station=name_of(0), level="warning")
        assert len(log_entries(bridge, "connected to the broker")) == 1
    report_row(
        21, f"MQTT {protocol}: {len(_FOREIGN) + 499} corrupt, forged and foreign topics left alone, its own cleared"
    )
