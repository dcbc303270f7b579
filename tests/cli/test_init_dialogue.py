"""`init` on a terminal: a real pseudo-terminal, a real broker, a real HTTP server."""

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
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.net import free_port

TOKEN = "canary-t0ken"
PASSWORD = 'canary-p4ss "ü\\'
CTRL_C, CTRL_D = b"\x03", b"\x04"


@pytest.fixture
def strict_broker(tmp_path: Path, authority: Authority) -> Iterator[Mosquitto]:
    """A broker that wants TLS, and the user `bridge` with his password."""
    folder = tmp_path / "strict"
    folder.mkdir()
    server = authority.issue("broker")
    _passwords(folder / "passwords")
    extra = [
        f"certfile {server.cert_file}",
        f"keyfile {server.key_file}",
        f"password_file {folder / 'passwords'}",
    ]
    with Mosquitto(folder, extra=extra, anonymous=False) as broker:
        yield broker


def _passwords(file: Path) -> None:
    """What mosquitto_passwd writes, for PASSWORD."""
    salt = b"0123456789ab"
    digest = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), salt, 101)
    file.write_text(f"bridge:$7$101${b64encode(salt).decode()}${b64encode(digest).decode()}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def asked(cloud: CloudServer) -> CloudServer:
    cloud.answer(EXAMPLE_EVSE, status_example(), token=TOKEN)
    return cloud


def test_everything_is_asked_tried_and_written(
    folder: Path, strict_broker: Mosquitto, asked: CloudServer, authority: Authority
) -> None:
    with Terminal("init", "--cloud-url", asked.url, cwd=folder) as terminal:
        terminal.answer("Broker, name or address [localhost]: ", "127.0.0.1")
        terminal.answer("Does it speak TLS? [y/N]: ", "y")
        terminal.answer("Port [8883]: ", str(strict_broker.port))
        terminal.answer("empty: the system's: ", str(authority.ca_file))
        terminal.answer("User name; empty: none: ", "bridge")
        terminal.answer("Password; empty: none (is not shown): ", PASSWORD)
        terminal.asked("the broker accepted the connection\n")
        terminal.answer("Enter a station? [Y/n]: ", "")
        terminal.answer("Edge device id: ", "edge-1")
        terminal.answer("Uuid of the station: ", EXAMPLE_EVSE)
        terminal.answer("Name, as people call it; empty: none: ", 'Garage "north" ü')
        terminal.answer("empty: none: ", "north")
        terminal.answer("Token (is not shown): ", TOKEN)
        terminal.asked("Plug 2  charging  7107 W")
        terminal.asked("Enter another station? [y/N]: ")
        assert "--cloud-url" in terminal.command_line
        assert TOKEN not in terminal.command_line
        terminal.answer("", "")
        terminal.answer("Seconds between two polls of a station [30]: ", "15")
        terminal.answer("Should Home Assistant find the stations by itself? [Y/n]: ", "n")
        terminal.asked("wrote config.toml, readable for its owner alone\nNext:\n  evse-mqtt-bridge check --online ")
        assert terminal.ended() == 0
        assert TOKEN not in terminal.shown
        assert PASSWORD not in terminal.shown
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
        "cloud": {"base_url": asked.url},
        "polling": {"interval": 15},
        "homeassistant": {"enabled": False},
        "log": {},
        "http": {},
        "stations": [
            {
                "edge_device_id": "edge-1",
                "uuid": EXAMPLE_EVSE,
                "token": TOKEN,
                "name": 'Garage "north" ü',
                "alias": "north",
            }
        ],
    }
    checked = run_command("check", "--online", cwd=folder)
    assert (checked.returncode, checked.stderr) == (0, "")


_QUESTIONS = (
    *(
        "Broker,",
        "Does it",
        "Port",
        "User name",
        "Password",
        "Enter a",
        "Edge device",
        "Uuid",
        "Name,",
        "Alias,",
        "Token",
    ),
    *("Seconds", "Should"),
)


def test_it_goes_as_the_page_shows_it(folder: Path, broker: Mosquitto, asked: CloudServer) -> None:
    """Answers the questions of the page as the page does; another host and port stand in for those that it names."""
    page = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text()
    block = re.search(r"^```text\n(A few questions.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    transcript = block[1].replace("192.0.2.10:1883", f"127.0.0.1:{broker.port}").replace("192.0.2.10", "127.0.0.1")
    transcript = transcript.replace("Port [1883]:", f"Port [1883]: {broker.port}")
    with Terminal("init", "--cloud-url", asked.url, cwd=folder) as terminal:
        for line in transcript.splitlines():
            if line.startswith(_QUESTIONS):
                question, _, typed = f"{line} ".rpartition(": ") if line.endswith(":") else line.rpartition(": ")
                typed = {"Token": TOKEN, "Passw": PASSWORD}.get(line[:5], typed)
                terminal.answer(f"{question}: ", typed.strip())
        assert terminal.ended() == 0, terminal.shown
        assert [line.rstrip() for line in terminal.shown.splitlines()] == transcript.splitlines()


def test_a_broker_that_refuses_is_told_and_asked_again(
    folder: Path, strict_broker: Mosquitto, authority: Authority
) -> None:
    options = ("--host", "127.0.0.1", "--port", str(strict_broker.port), "--tls", "--no-stations")
    with Terminal("init", *options, cwd=folder) as terminal:
        terminal.answer("empty: the system's: ", "nowhere.pem")
        terminal.answer("User name; empty: none: ", "bridge")
        terminal.answer("Password; empty: none (is not shown): ", "wrong")
        terminal.asked(f"  mqtt.tls.ca_file: {folder}/nowhere.pem cannot be read: No such file or directory\n")
        terminal.answer("(again, quit) [again]: ", "")
        terminal.answer("Broker, name or address [127.0.0.1]: ", "")
        terminal.answer("[Y/n]: ", "")
        terminal.answer(f"Port [{strict_broker.port}]: ", "")
        terminal.answer("(- for none) [nowhere.pem]: ", "-")
        terminal.answer("(- for none) [bridge]: ", "")
        terminal.answer("(is not shown): ", "wrong")
        terminal.asked("the certificate was refused: ")
        terminal.asked("; does mqtt.tls.ca_file name the CA that signed it?\n")
        terminal.answer("(again, keep, quit) [again]: ", "again")
        terminal.answer("Broker, name or address [127.0.0.1]: ", "")
        terminal.answer("[Y/n]: ", "")
        terminal.answer("Port ", "")
        terminal.answer("the system's: ", str(authority.ca_file))
        terminal.answer("[bridge]: ", "")
        terminal.answer("(is not shown): ", "wrong")
        terminal.asked("Not authorized; check user name, password and what the broker allows this user\n")
        terminal.answer("[again]: ", "quit")
        assert terminal.ended() == 1
        assert terminal.shown.endswith("ended; nothing was written\n")
        assert "Traceback" not in terminal.shown
    assert list(folder.iterdir()) == []


def test_a_file_is_named_from_where_the_user_is(tmp_path: Path, folder: Path, authority: Authority) -> None:
    """Also when the answer before is taken again, and the configuration is elsewhere."""
    (folder / "ca.pem").write_text(authority.ca_file.read_text())
    options = ("--config", "etc/config.toml", "--host", "127.0.0.1", "--port", str(free_port()), "--tls")
    with Terminal("init", *options, "--username", "", "--no-stations", cwd=tmp_path) as terminal:
        terminal.answer("the system's: ", "etc/ca.pem")
        terminal.answer("(again, keep, quit) [again]: ", "")
        terminal.answer("Broker, name or address [127.0.0.1]: ", "")
        terminal.answer("[Y/n]: ", "")
        terminal.answer("Port ", "")
        terminal.answer("(- for none) [etc/ca.pem]: ", "")
        terminal.answer("User name; empty: none: ", "")
        terminal.answer("(again, keep, quit) [again]: ", "keep")
        terminal.answer("[30]: ", "")
        terminal.answer("[Y/n]: ", "")
        assert terminal.ended() == 0, terminal.shown
    assert 'ca_file = "ca.pem"\n' in (folder / "config.toml").read_text()


def test_what_does_not_answer_may_be_kept(folder: Path, asked: CloudServer) -> None:
    port = free_port()
    asked.stop()
    with Terminal("init", "--cloud-url", asked.url, "--host", "127.0.0.1", "--no-tls", cwd=folder) as terminal:
        terminal.answer("Port [1883]: ", str(port))
        terminal.answer("User name; empty: none: ", "")
        terminal.asked(f"broker 127.0.0.1:{port}: Connection refused\n")
        terminal.answer("[again]: ", "keep")
        terminal.answer("Enter a station? [Y/n]: ", "y")
        terminal.answer("Edge device id: ", "edge 1")
        terminal.asked("  expected 1 to 64 of the characters A-Z a-z 0-9 _ -\n")
        terminal.answer("Edge device id: ", "edge-1")
        terminal.answer("Uuid of the station: ", EXAMPLE_EVSE)
        terminal.answer("empty: none: ", "")
        terminal.answer("empty: none: ", "")
        terminal.answer("Token (is not shown): ", TOKEN)
        terminal.asked(f"{EXAMPLE_EVSE}: unreachable: ")
        asked.start()
        terminal.answer("(again, keep, leave-out, quit) [again]: ", "")
        terminal.answer("Edge device id [edge-1]: ", "")
        terminal.answer(f"Uuid of the station [{EXAMPLE_EVSE}]: ", "")
        terminal.answer("empty: none: ", "")
        terminal.answer("empty: none: ", "")
        terminal.answer("Token (is not shown): ", "wrong")
        terminal.asked(f"{EXAMPLE_EVSE}: unauthorized: ")
        terminal.answer("[again]: ", "keep")
        terminal.answer("Enter another station? [y/N]: ", "y")
        terminal.answer("Edge device id: ", "edge-1")
        terminal.answer("Uuid of the station: ", EXAMPLE_EVSE)
        terminal.answer("empty: none: ", "")
        terminal.answer("empty: none: ", "")
        terminal.answer("Token (is not shown): ", TOKEN)
        terminal.asked("stations[1].uuid: is already the uuid of stations[0]\n")
        terminal.answer("(again, leave-out, quit) [again]: ", "leave-out")
        terminal.answer("Enter another station? [y/N]: ", "")
        terminal.answer("Seconds between two polls of a station [30]: ", "0.5")
        terminal.asked("  expected a number from 1 to 86400\n")
        terminal.answer("[30]: ", "1200")
        terminal.asked("  polling.interval: must be less than polling.stale_after, which is 1200\n")
        terminal.answer("(again, quit) [again]: ", "")
        terminal.answer("[30]: ", "often")
        terminal.asked("  expected a number\n")
        terminal.answer("[30]: ", "2.5")
        terminal.answer("[Y/n]: ", "")
        assert terminal.ended() == 0, terminal.shown
        assert TOKEN not in terminal.shown
    config = load(folder / "config.toml", {}).config
    assert config.mqtt.effective_port == port
    assert [(item.uuid, item.token.get_secret_value()) for item in config.stations] == [(EXAMPLE_EVSE, "wrong")]
    assert (config.polling.interval, config.homeassistant.enabled) == (2.5, True)


@pytest.mark.parametrize(
    ("key", "question"),
    [
        (CTRL_C, "Broker, name"),
        (CTRL_D, "Broker, name"),
        (CTRL_C, "(is not shown): "),
        (CTRL_C, "Enter a station? "),
    ],
)
def test_ended_by_a_key_it_writes_nothing_and_says_so_in_a_line(
    key: bytes, question: str, folder: Path, broker: Mosquitto
) -> None:
    with Terminal("init", "--no-tls", "--port", str(broker.port), cwd=folder) as terminal:
        for asked, line in (
            ("Broker, name", "127.0.0.1"),
            ("User name", "bridge"),
            ("(is not shown): ", "any"),
            ("Enter a station? ", "never typed"),
        ):
            if asked == question:
                break
            terminal.answer(asked, line)
        terminal.asked(question)
        before = len(terminal.shown)
        terminal.press(key)
        assert terminal.ended() == 1
        assert terminal.shown[before:].splitlines()[-1] == "ended; nothing was written"
        assert "Aborted" not in terminal.shown
        assert "Traceback" not in terminal.shown
    assert list(folder.iterdir()) == []


def test_ended_while_the_broker_is_tried_it_writes_nothing(folder: Path, broker: Mosquitto) -> None:
    broker.freeze()
    try:
        with Terminal("init", "--host", "127.0.0.1", "--no-tls", "--port", str(broker.port), cwd=folder) as terminal:
            terminal.answer("User name; empty: none: ", "")
            terminal.asked("Trying ")
            terminal.press(CTRL_C)
            assert terminal.ended() == 1
            assert terminal.shown.endswith("ended; nothing was written\n")
            assert "Traceback" not in terminal.shown
    finally:
        broker.thaw()
    assert list(folder.iterdir()) == []
