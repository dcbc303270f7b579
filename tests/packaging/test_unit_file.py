"""The bridge as a service: what its manager hears of the whole process, and the unit that has it started."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evse_mqtt_bridge.support.errors import ConfigError
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer, run_command
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import config_tables, station_table, write_config
from tests.harness.service_manager import ServiceManager

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "deploy/systemd/evse-mqtt-bridge.service").read_text()
DROP_IN = (ROOT / "deploy/systemd/before-253.conf").read_text()
PAGE = (ROOT / "docs/operations.md").read_text()

STATES = {"READY", "RELOADING", "STOPPING"}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path / "notify") as listening:
        yield listening


@pytest.fixture
def config(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> Path:
    cloud.answer(EXAMPLE_EVSE, status_example())
    return write_config(tmp_path / "config.toml", config_tables(broker, cloud, polling={"stale_after": 0}))


def _state(manager: ServiceManager) -> dict[str, str]:
    """The next message that changes the state; those that tell of signs of life and words are passed over."""
    while not STATES & (message := manager.next_message()).keys():
        pass
    return message


def test_each_state_is_told_when_it_is_reached(
    manager: ServiceManager, config: Path, broker: Mosquitto, bridge_process: Callable[..., BridgeProcess]
) -> None:
    broker.stop()  # which is no reason for not being ready: it is waited for as long as it takes
    bridge = bridge_process(config, env=manager.environment)
    started = manager.next_message()
    assert started["READY"] == "1"
    assert "0 of 1 stations online" in started["STATUS"]

    before = time.monotonic_ns() // 1000
    bridge.send_signal(signal.SIGHUP)
    reloading = _state(manager)
    assert reloading["RELOADING"] == "1"
    assert before < int(reloading["MONOTONIC_USEC"]) < time.monotonic_ns() // 1000
    assert _state(manager)["READY"] == "1"

    config.write_text("[mqtt")
    bridge.send_signal(signal.SIGHUP)
    assert _state(manager)["RELOADING"] == "1"
    assert _state(manager)["READY"] == "1"  # with the configuration that it had
    assert "is not valid TOML" in bridge.stderr_text

    bridge.terminate()
    assert _state(manager) == {"STOPPING": "1"}
    bridge.assert_exit(0)
    manager.drain()


def test_a_wrong_configuration_is_never_ready(
    manager: ServiceManager, config: Path, bridge_process: Callable[..., BridgeProcess]
) -> None:
    config.write_text("[mqtt")
    bridge_process(config, env=manager.environment).assert_exit(78)
    assert manager.receives_nothing(0.1)


def test_signs_of_life_come_from_the_event_loop(
    manager: ServiceManager, config: Path, bridge_process: Callable[..., BridgeProcess]
) -> None:
    bridge = bridge_process(config, env={**manager.environment, "WATCHDOG_USEC": "1000000"})
    for _ in range(3):
        manager.next_message_with("WATCHDOG")
    bridge.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, bridge.pid, os.WSTOPPED)
    manager.drain()
    assert manager.receives_nothing(2)
    bridge.send_signal(signal.SIGCONT)
    manager.next_message_with("WATCHDOG")


def test_no_sign_of_life_is_given_where_none_is_asked_for(
    manager: ServiceManager, config: Path, observer: Observer, bridge_process: Callable[..., BridgeProcess]
) -> None:
    other = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    bridge = bridge_process(config, env={**manager.environment, **other})
    observer.wait_for("evse/bridge/availability", "online")
    bridge.stop()
    assert _state(manager)["READY"] == "1"
    assert _state(manager) == {"STOPPING": "1"}
    assert not [message for message in manager.messages if "WATCHDOG" in message]


def _settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_the_unit_says_what_is_so() -> None:
    unit = _settings(UNIT)
    assert unit["RestartPreventExitStatus"] == [str(ConfigError.exit_code)]
    [start] = unit["ExecStart"]
    program, *arguments = start.split()
    assert program.endswith("/bin/evse-mqtt-bridge")
    assert arguments == ["run", "--config", "/etc/evse-mqtt-bridge/config.toml"]
    assert int(unit["TimeoutStopSec"][0]) > 5
    assert int(unit["WatchdogSec"][0]) >= 10
    assert _settings(DROP_IN)["Type"] == ["notify"]


def _systemd() -> int:
    """The version of systemd's tools."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[1])


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that exists."""
    file = tmp_path / "evse-mqtt-bridge.service"
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT, flags=re.MULTILINE)
    if _systemd() < 253:
        text = text.replace("Type=notify-reload\n", "Type=notify\nExecReload=/bin/true\n")
    file.write_text(text)
    return file


def test_the_unit_is_understood(unit: Path) -> None:
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_the_unit_leaves_little_open(unit: Path) -> None:
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=13", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout
    found = re.search(r"exposure level for \S+ ([0-9.]+)", judged.stdout)
    told = re.search(r"`systemd-analyze security` rates it ([0-9.]+)", PAGE)
    assert found
    assert told
    assert abs(float(found[1]) - float(told[1])) < 0.25  # versions differ a little


def _example() -> str:
    blocks: list[str] = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    [example] = [block for block in blocks if '_file = "secrets/' in block]
    return example


def test_the_page_names_secrets_as_the_unit_loads_them() -> None:
    [loaded] = _settings(UNIT)["LoadCredential"]
    name, folder = loaded.split(":")
    named = re.findall(r'_file = "(.+)/(.+)"', _example())
    assert len(named) >= 2
    for prefix, file in named:
        assert prefix == name
        assert f"{folder}/{file}" in PAGE


def test_the_example_runs_with_its_credentials(tmp_path: Path, cloud: CloudServer) -> None:
    """As systemd hands them over: a folder that the service's user alone may read, with a file for each."""
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    for file in re.findall(r'_file = "(.+)"', _example()):
        handed_over = credentials / file.replace("/", "_")
        handed_over.write_text("secret\n")
        handed_over.chmod(0o400)
    credentials.chmod(0o500)
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run([_mosquitto_passwd(), "-b", passwords, "bridge", "secret"], check=True, capture_output=True)
    subprocess.run([_mosquitto_passwd(), "-b", passwords, "looker", "look"], check=True, capture_output=True)
    cloud.answer(EXAMPLE_EVSE, status_example(), token="secret")
    config = tmp_path / "config.toml"
    config.write_text(_example())
    config.chmod(0o644)
    with Mosquitto(tmp_path / "broker", anonymous=False, extra=[f"password_file {passwords}"]) as broker:
        elsewhere = {
            "EVSE_MQTT_BRIDGE__MQTT__HOST": broker.host,
            "EVSE_MQTT_BRIDGE__MQTT__PORT": str(broker.port),
            "EVSE_MQTT_BRIDGE__CLOUD__BASE_URL": cloud.url,
            "EVSE_MQTT_BRIDGE__HTTP__ENABLED": "false",
            "CREDENTIALS_DIRECTORY": str(credentials),
        }
        with (
            BridgeProcess.run(config, env=elsewhere) as bridge,
            Observer(broker.port, username="looker", password="look") as observer,
        ):
            observer.wait_for("evse/garage-north/availability", "online")
            assert "other users can read" not in bridge.stderr_text  # the file itself contains no secret


def test_a_credential_can_be_named_by_the_environment(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    (tmp_path / "mqtt.password").write_text("secret\n")
    tables = config_tables(broker, cloud, [station_table()], mqtt={"username": "bridge"})
    config = write_config(tmp_path / "config.toml", tables)
    variable = re.findall(r"^Environment=(\w+)=%d/(\S+)$", PAGE, re.MULTILINE)
    assert variable == [("EVSE_MQTT_BRIDGE__MQTT__PASSWORD_FILE", "mqtt.password")]
    environment = {name: str(tmp_path / file) for name, file in variable}
    checked = run_command("check", "--config", config, env=environment)
    assert checked.returncode == 0, checked.stderr


def _mosquitto_passwd() -> str:
    path = shutil.which("mosquitto_passwd")
    assert path, "it comes with Mosquitto"
    return path
