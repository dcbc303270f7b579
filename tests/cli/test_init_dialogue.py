"""`init` with prompts: in a pseudo-terminal, with a real broker and a real HTTP server."""

import hashlib
import re
import stat
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from evse_mqtt_bridge.config.load import load
from tests.cli.terminal import Terminal
from tests.harness import Authority, CloudServer, Mosquitto, run_command, status_example
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS
from tests.harness.net import free_port

TOKEN = "canary-t0ken"
PASSWORD = 'canary-p4ss "ü\\'
CTRL_C, CTRL_D = b"\x03", b"\x04"


@pytest.fixture
def strict_broker(tmp_path: Path, authority: Authority) -> Iterator[Mosquitto]:
    """A broker that requires TLS and the user `bridge` with its password."""
    folder = tmp_path / "strict"
    folder.mkdir()
    server = authority.issue("broker")
    _write_passwords(folder / "passwords")
    extra = [
        f"certfile {server.cert_file}",
        f"keyfile {server.key_file}",
        f"password_file {folder / 'passwords'}",
    ]
    with Mosquitto(folder, extra=extra, anonymous=False) as broker:
        yield broker


def _write_passwords(file: Path) -> None:
    """Write the file that mosquitto_passwd writes for PASSWORD."""
    salt = b"0123456789ab"
    digest = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), salt, 101)
    file.write_text(f"bridge:$7$101${b64encode(salt).decode()}${b64encode(digest).decode()}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def api(cloud: CloudServer) -> CloudServer:
    cloud.answer(EXAMPLE_EVSE, status_example(), token=TOKEN)
    return cloud


def test_init_prompts_test_and_write_every_answer(
    folder: Path, strict_broker: Mosquitto, api: CloudServer, authority: Authority
) -> None:
    with Terminal("init", "--cloud-url", api.url, cwd=folder) as terminal:
        terminal.answer("Broker host [localhost]: ", "127.0.0.1")
        terminal.answer("Use TLS? [y/N]: ", "y")
        terminal.answer("Port [8883]: ", str(strict_broker.port))
        terminal.answer("(empty: the system's CAs): ", str(authority.ca_file))
        terminal.answer("User name (empty: none): ", "bridge")
        terminal.answer("Password (hidden; empty: none): ", PASSWORD)
        terminal.expect("the broker accepted the connection\n")
        terminal.answer("Add a station? [Y/n]: ", "")
        terminal.answer("Edge device ID: ", "edge-1")
        terminal.answer("Station UUID: ", EXAMPLE_EVSE)
        terminal.answer("Display name (empty: none): ", 'Garage "north" ü')
        terminal.answer("in topics (- for none) [garage-north-u]: ", "north")
        terminal.answer("Token (hidden): ", TOKEN)
        terminal.expect("Plug 2  charging  7107 W")
        terminal.answer("Name of Plug 1 (empty: the label): ", "Left bay")
        terminal.answer("Alias of Plug 1 (- for none) [left-bay]: ", "a/b")
        terminal.expect("  expected 1 to 64 letters, digits, _ or - (it becomes one topic level)\n")
        terminal.answer("Alias of Plug 1 (- for none) [left-bay]: ", "info")
        terminal.expect(
            "  cannot be info, availability_reason or availability, which are topics of the station itself\n"
        )
        terminal.answer("Alias of Plug 1 (- for none) [left-bay]: ", "left")
        terminal.answer("Name of Plug 2 (empty: the label): ", "")
        terminal.answer("Alias of Plug 2 (- for none) [plug-2]: ", "left")
        terminal.expect(f"  is already the alias of plug {EXAMPLE_PLUGS[0]}\n")
        terminal.answer("Alias of Plug 2 (- for none) [plug-2]: ", "-")
        terminal.expect("Add another station? [y/N]: ")
        assert "--cloud-url" in terminal.command_line
        assert TOKEN not in terminal.command_line
        terminal.answer("", "")
        terminal.answer("Poll interval in seconds [30]: ", "15")
        terminal.answer("Publish discovery for Home Assistant? [Y/n]: ", "n")
        terminal.expect("wrote config.toml, readable by its owner only\nNext:\n  evse-mqtt-bridge check --online ")
        assert terminal.wait() == 0
        assert TOKEN not in terminal.output
        assert PASSWORD not in terminal.output
    assert [path.name for path in folder.iterdir()] == ["config.toml"]
    assert stat.S_IMODE((folder / "config.toml").stat().st_mode) == 0o600
    assert tomllib.loads((folder / "config.toml").read_text()) == {
        "mqtt": {
            "host": "127.0.0.1",
            "port": strict_broker.port,
            "username": "bridge",
            "password": PASSWORD,
            "tls": {"ca_file": str(authority.ca_file)},
        },
        "cloud": {"base_url": api.url},
        "polling": {"interval": 15},
        "homeassistant": {"enabled": False},
        "log": {},
        "http": {},
        "history": {},
        "stations": [
            {
                "edge_device_id": "edge-1",
                "uuid": EXAMPLE_EVSE,
                "token": TOKEN,
                "name": 'Garage "north" ü',
                "alias": "north",
                "plugs": {EXAMPLE_PLUGS[0]: "left"},
                "plug_names": {EXAMPLE_PLUGS[0]: "Left bay"},
            }
        ],
    }
    result = run_command("check", "--online", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")


_QUESTIONS = (
    *(
        "Broker",
        "Use TLS",
        "Port",
        "User name",
        "Password",
        "Add a",
        "Edge device",
        "Station",
        "Display name",
        "Name of",
        "Alias",
        "Token",
    ),
    *("Poll interval", "Publish"),
)


def test_init_dialogue_matches_getting_started(folder: Path, broker: Mosquitto, api: CloudServer) -> None:
    """Answer like the page does, with the host and port of the test's broker."""
    page = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text()
    block = re.search(r"^```text\n(Answer a few questions.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    transcript = block[1].replace("192.0.2.10:1883", f"127.0.0.1:{broker.port}").replace("192.0.2.10", "127.0.0.1")
    transcript = transcript.replace("Port [1883]:", f"Port [1883]: {broker.port}")
    with Terminal("init", "--cloud-url", api.url, cwd=folder) as terminal:
        for line in transcript.splitlines():
            if line.startswith(_QUESTIONS):
                question, _, typed = f"{line} ".rpartition(": ") if line.endswith(":") else line.rpartition(": ")
                typed = {"Token": TOKEN, "Passw": PASSWORD}.get(line[:5], typed)
                terminal.answer(f"{question}: ", typed.strip())
        assert terminal.wait() == 0, terminal.output
        assert [line.rstrip() for line in terminal.output.splitlines()] == transcript.splitlines()


def test_init_broker_rejects_prompts_again(folder: Path, strict_broker: Mosquitto, authority: Authority) -> None:
    options = ("--host", "127.0.0.1", "--port", str(strict_broker.port), "--tls", "--no-stations")
    with Terminal("init", *options, cwd=folder) as terminal:
        terminal.answer("(empty: the system's CAs): ", "nowhere.pem")
        terminal.answer("User name (empty: none): ", "bridge")
        terminal.answer("Password (hidden; empty: none): ", "wrong")
        terminal.expect(f"  mqtt.tls.ca_file: {folder}/nowhere.pem cannot be read: No such file or directory\n")
        terminal.answer("(retry, quit) [retry]: ", "")
        terminal.answer("Broker host [127.0.0.1]: ", "")
        terminal.answer("[Y/n]: ", "")
        terminal.answer(f"Port [{strict_broker.port}]: ", "")
        terminal.answer("CA file of the broker (- for the system's CAs) [nowhere.pem]: ", "-")
        terminal.answer("User name (- for none) [bridge]: ", "")
        terminal.answer("(hidden; empty: none): ", "wrong")
        terminal.expect("certificate was rejected: ")
        terminal.expect("; does mqtt.tls.ca_file name the CA that signed it?\n")
        terminal.answer("(retry, keep, quit) [retry]: ", "retry")
        terminal.answer("Broker host [127.0.0.1]: ", "")
        terminal.answer("[Y/n]: ", "")
        terminal.answer("Port ", "")
        terminal.answer("(empty: the system's CAs): ", str(authority.ca_file))
        terminal.answer("[bridge]: ", "")
        terminal.answer("(hidden; empty: none): ", "wrong")
        terminal.expect(
            "Not authorized; check the user name, the password and the broker's access rules for this user\n"
        )
        terminal.answer("[retry]: ", "quit")
        assert terminal.wait() == 1
        assert terminal.output.endswith("cancelled; nothing was written\n")
        assert "Traceback" not in terminal.output
    assert list(folder.iterdir()) == []


def test_init_file_names_are_relative_to_the_user(tmp_path: Path, folder: Path, authority: Authority) -> None:
    """Also if a prompt proposes the previous answer, and the configuration is in another folder."""
    (folder / "ca.pem").write_text(authority.ca_file.read_text())
    options = ("--config", "etc/config.toml", "--host", "127.0.0.1", "--port", str(free_port()), "--tls")
    with Terminal("init", *options, "--username", "", "--no-stations", cwd=tmp_path) as terminal:
        terminal.answer("the system's CAs): ", "etc/ca.pem")
        terminal.answer("(retry, keep, quit) [retry]: ", "")
        terminal.answer("Broker host [127.0.0.1]: ", "")
        terminal.answer("[Y/n]: ", "")
        terminal.answer("Port ", "")
        terminal.answer("(- for the system's CAs) [etc/ca.pem]: ", "")
        terminal.answer("User name (empty: none): ", "")
        terminal.answer("(retry, keep, quit) [retry]: ", "keep")
        terminal.answer("[30]: ", "")
        terminal.answer("[Y/n]: ", "")
        assert terminal.wait() == 0, terminal.output
    assert 'ca_file = "ca.pem"\n' in (folder / "config.toml").read_text()


def test_init_failed_test_can_be_kept_retried_or_skipped(folder: Path, api: CloudServer) -> None:
    port = free_port()
    api.stop()
    with Terminal("init", "--cloud-url", api.url, "--host", "127.0.0.1", "--no-tls", cwd=folder) as terminal:
        terminal.answer("Port [1883]: ", str(port))
        terminal.answer("User name (empty: none): ", "")
        terminal.expect(f"broker 127.0.0.1:{port}: Connection refused\n")
        terminal.answer("[retry]: ", "keep")
        terminal.answer("Add a station? [Y/n]: ", "y")
        terminal.answer("Edge device ID: ", "edge 1")
        terminal.expect("  expected 1 to 64 of the characters A-Z a-z 0-9 _ -\n")
        terminal.answer("Edge device ID: ", "edge-1")
        terminal.answer("Station UUID: ", EXAMPLE_EVSE)
        terminal.answer("(empty: none): ", "")
        terminal.answer("(empty: none): ", "")
        terminal.answer("Token (hidden): ", TOKEN)
        terminal.expect(f"{EXAMPLE_EVSE}: unreachable: ")
        api.start()
        terminal.answer("(retry, keep, skip, quit) [retry]: ", "")
        terminal.answer("Edge device ID [edge-1]: ", "")
        terminal.answer(f"Station UUID [{EXAMPLE_EVSE}]: ", "")
        terminal.answer("(empty: none): ", "")
        terminal.answer("(empty: none): ", "")
        terminal.answer("Token (hidden): ", "wrong")
        terminal.expect(f"{EXAMPLE_EVSE}: unauthorized: ")
        terminal.answer("[retry]: ", "keep")
        terminal.answer("Add another station? [y/N]: ", "y")
        terminal.answer("Edge device ID: ", "edge-1")
        terminal.answer("Station UUID: ", EXAMPLE_EVSE)
        terminal.answer("(empty: none): ", "")
        terminal.answer("(empty: none): ", "")
        terminal.expect("stations[1].uuid: is already the uuid of stations[0]\n")
        terminal.answer("(retry, skip, quit) [retry]: ", "skip")
        terminal.answer("Add another station? [y/N]: ", "")
        terminal.answer("Poll interval in seconds [30]: ", "0.5")
        terminal.expect("  expected a number from 1 to 86400\n")
        terminal.answer("[30]: ", "1200")
        terminal.expect("  polling.interval: must be less than polling.stale_after, which is 1200\n")
        terminal.answer("(retry, quit) [retry]: ", "")
        terminal.answer("[30]: ", "often")
        terminal.expect("  expected a number\n")
        terminal.answer("[30]: ", "2.5")
        terminal.answer("[Y/n]: ", "")
        assert terminal.wait() == 0, terminal.output
        assert TOKEN not in terminal.output
    config = load(folder / "config.toml", {}).config
    assert config.mqtt.effective_port == port
    assert [(item.uuid, item.token.get_secret_value()) for item in config.stations] == [(EXAMPLE_EVSE, "wrong")]
    assert (config.polling.interval, config.homeassistant.enabled) == (2.5, True)


@pytest.mark.parametrize(
    ("key", "question"),
    [
        (CTRL_C, "Broker host"),
        (CTRL_D, "Broker host"),
        (CTRL_C, "(hidden; empty: none): "),
        (CTRL_C, "Add a station? "),
    ],
)
def test_init_cancelled_at_a_prompt_writes_nothing(key: bytes, question: str, folder: Path, broker: Mosquitto) -> None:
    with Terminal("init", "--no-tls", "--port", str(broker.port), cwd=folder) as terminal:
        for prompt, line in (
            ("Broker host", "127.0.0.1"),
            ("User name", "bridge"),
            ("(hidden; empty: none): ", "any"),
            ("Add a station? ", "never typed"),
        ):
            if prompt == question:
                break
            terminal.answer(prompt, line)
        terminal.expect(question)
        before = len(terminal.output)
        terminal.press(key)
        assert terminal.wait() == 1
        assert terminal.output[before:].splitlines()[-1] == "cancelled; nothing was written"
        assert "Aborted" not in terminal.output
        assert "Traceback" not in terminal.output
    assert list(folder.iterdir()) == []


def test_init_cancelled_during_a_test_writes_nothing(folder: Path, broker: Mosquitto) -> None:
    broker.freeze()
    try:
        with Terminal("init", "--host", "127.0.0.1", "--no-tls", "--port", str(broker.port), cwd=folder) as terminal:
            terminal.answer("User name (empty: none): ", "")
            terminal.expect("Connecting ")
            terminal.press(CTRL_C)
            assert terminal.wait() == 1
            assert terminal.output.endswith("cancelled; nothing was written\n")
            assert "Traceback" not in terminal.output
    finally:
        broker.thaw()
    assert list(folder.iterdir()) == []
