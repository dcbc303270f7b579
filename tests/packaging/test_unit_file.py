"""The bridge as a systemd service: the notifications of the running process, and the unit file."""

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
    with ServiceManager(tmp_path / "notify") as started:
        yield started


@pytest.fixture
def config(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> Path:
    cloud.answer(EXAMPLE_EVSE, status_example())
    return write_config(tmp_path / "config.toml", config_tables(broker, cloud, polling={"stale_after": 0}))


def _state(manager: ServiceManager) -> dict[str, str]:
    """Return the next message that changes the state; skips watchdog and status messages."""
    while not STATES & (message := manager.next_message()).keys():
        pass
    return message


def test_service_manager_is_notified_of_each_state(
    manager: ServiceManager, config: Path, broker: Mosquitto, bridge_process: Callable[..., BridgeProcess]
) -> None:
    broker.stop()  # the bridge is ready without a broker: it retries as long as necessary
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
    assert _state(manager)["READY"] == "1"  # with the current configuration
    bridge.wait_for_line("is not valid TOML")

    bridge.terminate()
    assert _state(manager) == {"STOPPING": "1"}
    bridge.assert_exit(0)
    manager.drain()


def test_invalid_configuration_never_reports_ready(
    manager: ServiceManager, config: Path, bridge_process: Callable[..., BridgeProcess]
) -> None:
    config.write_text("[mqtt")
    bridge_process(config, env=manager.environment).assert_exit(78)
    assert manager.receives_nothing(0.1)


def test_watchdog_messages_stop_while_suspended(
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


def test_watchdog_of_another_process_is_not_notified(
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


def test_unit_settings_match_the_bridge() -> None:
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
    """Return the major version of systemd's tools."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.split()[1])


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit file with a program that exists on this machine."""
    file = tmp_path / "evse-mqtt-bridge.service"
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT, flags=re.MULTILINE)
    if _systemd() < 253:
        text = text.replace("Type=notify-reload\n", "Type=notify\nExecReload=/bin/true\n")
    file.write_text(text)
    return file


def test_unit_passes_systemd_analyze_verify(unit: Path) -> None:
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_unit_exposure_is_low_and_documented(unit: Path) -> None:
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=13", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    actual = re.search(r"exposure level for \S+ ([0-9.]+)", result.stdout)
    documented = re.search(r"`systemd-analyze security` rates it ([0-9.]+)", PAGE)
    assert actual
    assert documented
    assert abs(float(actual[1]) - float(documented[1])) < 0.25  # versions of systemd differ a little


def _example() -> str:
    blocks: list[str] = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    [example] = [block for block in blocks if '_file = "secrets/' in block]
    return example


def test_documented_secrets_match_the_unit() -> None:
    [loaded] = _settings(UNIT)["LoadCredential"]
    name, folder = loaded.split(":")
    named = re.findall(r'_file = "(.+)/(.+)"', _example())
    assert len(named) >= 2
    for prefix, file in named:
        assert prefix == name
        assert f"{folder}/{file}" in PAGE


def test_documented_example_runs_with_credentials(tmp_path: Path, cloud: CloudServer) -> None:
    """Credentials as systemd provides them: a folder that only the service's user can read, with one file for each."""
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    for file in re.findall(r'_file = "(.+)"', _example()):
        credential = credentials / file.replace("/", "_")
        credential.write_text("secret\n")
        credential.chmod(0o400)
    credentials.chmod(0o500)
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run([_mosquitto_passwd(), "-b", passwords, "bridge", "secret"], check=True, capture_output=True)
    subprocess.run([_mosquitto_passwd(), "-b", passwords, "observer", "password"], check=True, capture_output=True)
    cloud.answer(EXAMPLE_EVSE, status_example(), token="secret")
    config = tmp_path / "config.toml"
    config.write_text(_example())
    config.chmod(0o644)
    with Mosquitto(tmp_path / "broker", anonymous=False, extra=[f"password_file {passwords}"]) as broker:
        overrides = {
            "EVSE_MQTT_BRIDGE__MQTT__HOST": broker.host,
            "EVSE_MQTT_BRIDGE__MQTT__PORT": str(broker.port),
            "EVSE_MQTT_BRIDGE__CLOUD__BASE_URL": cloud.url,
            "EVSE_MQTT_BRIDGE__HTTP__ENABLED": "false",
            "CREDENTIALS_DIRECTORY": str(credentials),
        }
        with (
            BridgeProcess.run(config, env=overrides) as bridge,
            Observer(broker.port, username="observer", password="password") as observer,
        ):
            observer.wait_for("evse/garage-north/availability", "online")
            assert "other users can read" not in bridge.stderr_text  # the file itself contains no secret


def test_credential_file_is_set_by_the_environment(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    (tmp_path / "mqtt.password").write_text("secret\n")
    tables = config_tables(broker, cloud, [station_table()], mqtt={"username": "bridge"})
    config = write_config(tmp_path / "config.toml", tables)
    variable = re.findall(r"^Environment=(\w+)=%d/(\S+)$", PAGE, re.MULTILINE)
    assert variable == [("EVSE_MQTT_BRIDGE__MQTT__PASSWORD_FILE", "mqtt.password")]
    environment = {name: str(tmp_path / file) for name, file in variable}
    result = run_command("check", "--config", config, env=environment)
    assert result.returncode == 0, result.stderr


def _mosquitto_passwd() -> str:
    path = shutil.which("mosquitto_passwd")
    assert path, "mosquitto_passwd, which is part of Mosquitto, is missing"
    return path
