"""The unit file, run by systemd with all its restrictions.

`make image-test` builds an image with systemd and sets SYSTEMD_IMAGE to its name; without it these tests are skipped.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.net import free_port
from tests.packaging.machine import Machine

if not os.environ.get("SYSTEMD_IMAGE"):
    pytest.skip("no image with systemd; use make image-test", allow_module_level=True)

ROOT = Path(__file__).parents[2]
UNIT = "evse-mqtt-bridge.service"
AVAILABILITY = "evse/bridge/availability"
CREDENTIALS = f"/run/credentials/{UNIT}"

CONFIG = """
[mqtt]
host = "{broker.host}"
port = {broker.port}
username = "bridge"
password_file = "{CREDENTIALS}/secrets_mqtt.password"

[cloud]
base_url = "{cloud.url}"

[polling]
interval = 1
stale_after = 0

[http]
port = {port}

[[stations]]
edge_device_id = "edge-1"
uuid = "{EXAMPLE_EVSE}"
token_file = "{CREDENTIALS}/secrets_garage-north.token"
"""


@pytest.fixture(scope="module")
def booted() -> Iterator[Machine]:
    with Machine(os.environ["SYSTEMD_IMAGE"]) as machine:
        machine.wait_until_booted()
        # belongs to the container; systemd creates its own, and cannot rename a folder of an overlay's lower layer
        (machine.root / "var/lib/evse-mqtt-bridge").rmdir()
        (machine.root / "opt/evse-mqtt-bridge").symlink_to("/opt/bridge")
        units = machine.root / "etc/systemd/system"
        shutil.copy(ROOT / "deploy/systemd" / UNIT, units)
        drop_ins = units / f"{UNIT}.d"
        drop_ins.mkdir()
        if int(machine.run("systemctl", "--version").stdout.split()[1]) < 253:
            shutil.copy(ROOT / "deploy/systemd/before-253.conf", drop_ins)
        (drop_ins / "impatient.conf").write_text("[Service]\nWatchdogSec=3\nRestartSec=1\n")
        secrets = machine.root / "etc/evse-mqtt-bridge/secrets"
        secrets.mkdir(parents=True)
        secrets.chmod(0o700)
        for name in ("mqtt.password", "garage-north.token"):
            (secrets / name).write_text("secret\n")
            (secrets / name).chmod(0o600)
        machine.run("systemctl", "daemon-reload")
        yield machine


@pytest.fixture
def config(booted: Machine, broker: Mosquitto, cloud: CloudServer) -> Path:
    cloud.answer(EXAMPLE_EVSE, status_example(), token="secret")
    file = booted.root / "etc/evse-mqtt-bridge/config.toml"
    values = {"broker": broker, "cloud": cloud, "port": free_port()}
    file.write_text(CONFIG.format(**values, CREDENTIALS=CREDENTIALS, EXAMPLE_EVSE=EXAMPLE_EVSE))
    file.chmod(0o644)
    return file


@pytest.fixture
def machine(booted: Machine, config: Path, observer: Observer) -> Iterator[Machine]:  # noqa: ARG001  # the unit reads it
    """The machine with the bridge running; the bridge is stopped after the test."""
    started = booted.run("systemctl", "start", UNIT)
    assert started.returncode == 0, started.stderr + booted.journal(UNIT)
    observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
    yield booted
    booted.run("systemctl", "stop", UNIT)
    booted.run("systemctl", "reset-failed", UNIT)


def test_unit_runs_with_credentials_and_shuts_down_cleanly(machine: Machine, observer: Observer) -> None:
    state = machine.properties(UNIT, "ActiveState", "MainPID", "StatusText")
    assert state["ActiveState"] == "active"
    assert "1 stations online" in state["StatusText"]
    owner = int(machine.run("stat", "--format=%u", f"/proc/{state['MainPID']}").stdout)
    assert 61184 <= owner <= 65519, "no dynamic user"
    credentials = machine.run("ls", "-l", CREDENTIALS).stdout
    assert len(re.findall(r"^-r--------.* secrets_", credentials, re.MULTILINE)) == 2

    assert machine.run("systemctl", "stop", UNIT).returncode == 0
    observer.wait_for(AVAILABILITY, "offline")
    assert machine.properties(UNIT, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}


def test_reload_applies_the_changed_file(machine: Machine, config: Path, observer: Observer) -> None:
    config.write_text(f'{config.read_text()}alias = "north"\n')
    reloaded = machine.run("systemctl", "reload", UNIT)
    assert reloaded.returncode == 0, reloaded.stderr
    observer.wait_for("evse/north/availability", "online")
    machine.wait_for(UNIT, ActiveState="active", NRestarts="0")


def test_watchdog_restarts_a_hanging_bridge(machine: Machine, observer: Observer) -> None:
    hanging = machine.properties(UNIT, "MainPID")["MainPID"]
    start = observer.count
    assert machine.run("sh", "-c", f"kill -STOP {hanging}").returncode == 0
    machine.wait_for(UNIT, ActiveState="active", NRestarts="1")
    assert machine.properties(UNIT, "MainPID")["MainPID"] != hanging
    observer.wait(lambda: "online" in observer.payloads(AVAILABILITY, start))


def test_invalid_configuration_is_not_restarted(booted: Machine, config: Path) -> None:
    config.write_text("[mqtt]\nhost = 1\n")
    assert booted.run("systemctl", "start", UNIT).returncode != 0
    booted.wait_for(UNIT, ActiveState="failed", ExecMainStatus="78")
    assert "mqtt.host" in booted.journal(UNIT)
    booted.run("systemctl", "reset-failed", UNIT)


def test_process_is_restricted_as_the_unit_declares(machine: Machine) -> None:
    """The process cannot write anywhere and cannot gain privileges."""
    pid = machine.properties(UNIT, "MainPID")["MainPID"]
    status = machine.run("cat", f"/proc/{pid}/status").stdout
    found = dict(re.findall(r"^(\w+):\s+(\S+)", status, re.MULTILINE))
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert int(found["CapBnd"], 16) == int(found["CapEff"], 16) == 0
    mounts = machine.run("cat", f"/proc/{pid}/mounts").stdout
    assert re.search(r"^\S+ / \S+ ro[, ]", mounts, re.MULTILINE)
