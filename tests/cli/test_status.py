"""`status`: what is drawn of a picture, where it is looked for, and what the exit code says."""

import json
import re
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rich.cells import cell_len

from evse_mqtt_bridge.cli.common.render import UNLIMITED, heading, listing, window
from evse_mqtt_bridge.cli.common.status_client import Viewer, address_of
from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.config.schema import Http
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.reason_texts import REASON_TEXTS, WAITING_TEXT
from evse_mqtt_bridge.observability.snapshot import (
    BridgeSnapshot,
    BrokerSnapshot,
    Health,
    PlugSnapshot,
    Snapshot,
    StationSnapshot,
    from_json,
    to_json,
)
from tests.cli.snapshots import AT, picture, plug, served, station
from tests.harness import free_port, run_command, write_config
from tests.harness.net import HOST

_PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
_DOWN = {
    "reason": Reason.UNAUTHORIZED,
    "since": AT - timedelta(minutes=125),
    "consecutive_failures": 9,
    "error": "HTTP 401 Unauthorized: the token was rejected",
    "error_at": AT - timedelta(seconds=12),
}
_OFF = {"status": "offline", "reason": Reason.OFFLINE, "since": AT - timedelta(seconds=40)}
_SITE = (
    station("Garage north", plug("Left"), plug("Right", status="idle", power=0.0)),
    station(
        "Garage south", *(plug(name, reason=Reason.UNAUTHORIZED, power=None) for name in ("Left", "Right")), **_DOWN
    ),
    station("Yard", plug("Plug 1", **_OFF)),
    station("Attic", reason=None, since=None, polled=None),
)


def _status(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, ["status", *map(str, arguments)], env={"COLUMNS": "80", **(env or {})})


def _text(shown: Snapshot, width: int, **how: bool) -> list[str]:
    return [line.text.plain.rstrip() for line in listing(shown, width, **how)]


# --- what is drawn


def test_at_80_columns_plugs_stand_beneath_their_station() -> None:
    assert _text(picture(*_SITE), 80) == [
        "STATION / PLUG  STATUS     POWER  L1 / L2 / L3          LIMIT   AGE",
        "Garage north",
        "  Left          charging  7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "  Right         idle         0 W  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "Garage south",
        "    the cloud rejects the token (for 2 h 05 min)",
        "    last error 12 s ago: HTTP 401 Unauthorized: the token was rejected",
        "  Left          charging       -  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "  Right         charging       -  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "Yard, Plug 1    offline   7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "    the plug is offline (for 40 s)",
        "Attic",
        "    has not answered yet",
    ]


def test_a_wide_terminal_gets_one_table() -> None:
    assert _text(picture(*_SITE), 160) == [
        "STATION       PLUG    STATUS     POWER  L1 / L2 / L3          LIMIT   AGE  AVAILABILITY",
        "Garage north  Left    charging  7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s  online (for 2 h 05 min)",
        "Garage north  Right   idle         0 W  10.3 / 10.3 / 10.3 A   12 A  12 s  online (for 2 h 05 min)",
        (
            "Garage south  Left    charging       -  10.3 / 10.3 / 10.3 A   12 A  12 s  the cloud rejects the token "
            "(for 2 h 05 min); last error 12 s ago: HTTP 401"
        ),
        f"{'':75}Unauthorized: the token was rejected",
        (
            "Garage south  Right   charging       -  10.3 / 10.3 / 10.3 A   12 A  12 s  the cloud rejects the token "
            "(for 2 h 05 min)"
        ),
        "Yard          Plug 1  offline   7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s  the plug is offline (for 40 s)",
        "Attic         -       -              -  -                         -     -  has not answered yet",
    ]


def test_a_pipe_gets_one_line_for_each_plug_and_nothing_is_cut() -> None:
    name = "A station with a name that is longer than most of them are"
    status = "a_status_that_is_longer_than_those_that_are_known_so_far"
    plugs = [plug(letter * 60, status=status, reason=Reason.UNAUTHORIZED) for letter in "PQ"]
    lines = _text(picture(station(name, *plugs, **{**_DOWN, "error": "x" * 290})), UNLIMITED)
    assert len(lines) == 3
    assert all(word in lines[1] for word in (name, "P" * 60, status, "x" * 290, "the cloud rejects the token"))


def test_the_heading_says_how_things_are() -> None:
    well = [line.text.plain for line in heading(picture(*_SITE))]
    assert well == [
        "evse-mqtt-bridge 1.2.3: healthy, broker connected, 2 of 5 plugs online",
        "bridge    evse-mqtt-bridge, running for 3 d 4 h, topics evse/#",
        "broker    broker.example.com:1883, connected for 4 min",
        "cloud     https://cloud.example.com",
        "stations  2 of 4 online; 1 of 5 plugs charging, 7107 W",
    ]
    words = ("polling is stuck: none ended for 80 s, though some were due", "no connection to the broker: refused")
    ill = picture(
        broker=replace(picture().broker, connected=False, error="refused"),
        health=Health(healthy=False, ready=False, messages=words),
    )
    lines = [line.text.plain for line in heading(ill)]
    assert lines[0] == "evse-mqtt-bridge 1.2.3: NOT HEALTHY, broker NOT CONNECTED, 0 of 0 plugs online"
    assert lines[2] == "broker    broker.example.com:1883, not connected for 4 min"
    assert lines[-2:] == [f"look at   {word}" for word in words]


@pytest.mark.parametrize("reason", [None, *Reason])
def test_every_reason_is_told_in_words(reason: Reason | None) -> None:
    words = WAITING_TEXT if reason is None else REASON_TEXTS[reason]
    (_, line) = _text(picture(station("Yard", plug(reason=reason))), 160)
    assert words in line


def test_what_is_not_known_is_a_dash_and_what_was_measured_is_rounded() -> None:
    unknown: dict[str, Any] = dict.fromkeys(
        ("status", "power", "current_l1", "current_l2", "current_l3", "dyn_current_limit", "time")
    )
    assert re.search(r"Yard, Plug 1 +- +- +- +- +-$", _text(picture(station("Yard", plug(**unknown))), 80)[1])
    some = plug(power=-3680.4, current_l1=15.99999, current_l2=None, current_l3=0.0, dyn_current_limit=1e-9)
    assert re.search(r" -3680 W +16 / - / 0 A +0 A +12 s$", _text(picture(station("Yard", some)), 80)[1])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (9.4, "9 s"), (12, "12 s"), (300, "5 min"), (7500, "2 h 05 min"), (-0.9, "0 s"), (-600, "-10 min")],
)
def test_ages_are_in_words_and_those_of_clocks_that_are_ahead_have_a_minus(seconds: float, words: str) -> None:
    shown = picture(station("Yard", plug(time=AT - timedelta(seconds=seconds))))
    assert _text(shown, 80)[1].endswith(f"  {words}")


def test_the_last_error_is_told_for_an_hour_and_while_polls_fail() -> None:
    def remarks(ago: float, consecutive_failures: int) -> list[str]:
        error: dict[str, Any] = {
            "error": "boom",
            "error_at": AT - timedelta(minutes=ago),
            "consecutive_failures": consecutive_failures,
        }
        return [line for line in _text(picture(station("Yard", plug(), **error)), 80) if "boom" in line]

    assert remarks(59, 0)
    assert not remarks(61, 0)
    assert remarks(61, 1)


def test_what_was_unusual_is_told() -> None:
    assert "    unusual: an unknown status" in _text(picture(station("Yard", plug(), note="an unknown status")), 80)


def test_by_rank_what_is_unavailable_comes_first() -> None:
    names = [
        station("Rest", plug(status="idle")),
        station("Charging", plug()),
        station("Problem", plug(status="error")),
        station("Waiting", reason=None),
        station("Away", plug("Off", **_OFF), plug("On")),
    ]
    order = ["Away", "Waiting", "Problem", "Charging", "Rest"]
    nested = _text(picture(*names), 70, worst_first=True)[1:]
    assert [line.split(",")[0] for line in nested if not line.startswith(" ")] == order
    flat = _text(picture(*names), 160, worst_first=True)[1:]
    assert [line.split()[0] for line in flat] == ["Away", "Waiting", "Problem", "Away", "Charging", "Rest"]


def test_a_window_says_how_much_does_not_fit() -> None:
    lines = listing(picture(*(station(f"Station {number}", plug("A"), plug("B")) for number in range(10))), 80)
    assert [line.text.plain.rstrip() for line in window(lines, 100)] == _text(
        picture(*(station(f"Station {number}", plug("A"), plug("B")) for number in range(10))), 80
    )
    cut = [line.text.plain for line in window(lines, 6)]
    assert cut[1] == "Station 0"
    assert cut[-1] == "and 18 more"
    assert len(cut) == 5  # no heading of a station without a plug of it
    assert window(lines, 0) == window(lines, 1)


_WORDS = st.text(max_size=40)


@given(
    width=st.integers(1, 250),
    texts=st.lists(st.tuples(_WORDS, _WORDS, _WORDS, _WORDS), min_size=1, max_size=4),
    worst_first=st.booleans(),
)
def test_no_text_from_outside_leaves_its_line_or_the_width(
    width: int, texts: list[tuple[str, str, str, str]], worst_first: bool
) -> None:
    shown = picture(
        *(station(name, plug(label, status=status), error=error, error_at=AT) for name, label, status, error in texts)
    )
    for line in listing(shown, width, worst_first=worst_first):
        assert line.text.plain.isprintable()
        if width >= 80:
            assert cell_len(line.text.plain) <= width + 40 * (not line.text.plain.isascii())


def test_hostile_names_are_inert() -> None:
    name = "\x1b[31mred\x1b]0;title\x07 [bold]x[/bold] [link=http://a]b[/link]\r\n\u202e"
    with served(station(name, plug(name, status=name), error=name, error_at=AT)) as shown:
        result = _status("--url", shown.url)
    assert result.exit_code == 0
    assert not set(result.stdout) & set("\x1b\x07\r\u202e")
    assert "[bold]" in result.stdout


def test_where_some_letters_cannot_be_written_the_rest_is() -> None:
    with served(station("駅 north", plug())) as shown:
        result = run_command("status", "--url", shown.url, env={"PYTHONIOENCODING": "latin-1"})
    assert (result.returncode, result.stderr) == (0, "")
    assert "? north" in result.stdout


# --- where it looks


def test_it_looks_where_the_configuration_says(tmp_path: Path) -> None:
    with served(*_SITE) as shown:
        # a token file that is out of reach is no reason not to look
        tables = {
            "mqtt": {"host": "localhost"},
            "http": {"port": int(shown.url.rpartition(":")[2]), "host": "0.0.0.0"},
            "stations": [{"edge_device_id": "1", "uuid": "a", "token_file": "/nowhere/token"}],
        }
        config = write_config(tmp_path / "config.toml", tables)
        result = _status("--config", config)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "Garage north" in result.stdout
        assert shown.asked == ["/api/picture"]
        other = _status("--config", config, env={"EVSE_MQTT_BRIDGE__HTTP__PORT": str(free_port())})
        assert other.exit_code == 69


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:9480"),
        ("0.0.0.0", "http://127.0.0.1:9480"),
        ("::", "http://[::1]:9480"),
        ("[::1]", "http://[::1]:9480"),
        ("2001:db8::7", "http://[2001:db8::7]:9480"),
        ("bridge.example.com", "http://bridge.example.com:9480"),
    ],
)
def test_addresses(host: str, address: str) -> None:
    assert address_of(Http(host=host)) == address


def test_without_a_configuration_it_looks_at_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    looked_at = []

    def look(viewer: Viewer) -> tuple[bytes, Snapshot]:
        looked_at.append(viewer.address)
        return b"{}", picture()

    monkeypatch.setattr(Viewer, "look", look)
    assert _status().exit_code == 0
    assert looked_at == ["http://127.0.0.1:9480"]


def test_nothing_is_looked_for_where_the_configuration_shows_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.toml", {"mqtt": {"host": "localhost"}, "http": {"enabled": False}})
    result = _status("--config", config)
    assert result.exit_code == 69
    assert f"http.enabled = false in {config}" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[http]\nport = 0\n", "config.toml:2: http.port: "),
        ("http = 3\n", "config.toml:1: http: "),
        ("[http\n", "is not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_told_as_ever(tmp_path: Path, text: str, words: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    result = _status("--config", config)
    assert result.exit_code == 78
    assert words in result.stderr


def test_a_configuration_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert _status("--config", tmp_path / "config.toml").exit_code == 78


@pytest.mark.parametrize("url", ["127.0.0.1:9480", "file:///etc/passwd", "http://", "http://a?b", "http://[", "x"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    assert _status("--url", url).exit_code == 2


def test_the_address_may_be_that_of_a_proxy_and_its_password_is_not_shown() -> None:
    with served(*_SITE) as shown:
        assert _status("--url", shown.url + "/bridges/north/").exit_code == 0
        assert shown.asked == ["/bridges/north/api/picture"]
        shown.status = 401
        result = _status("--url", shown.url.replace("http://", "http://user:pass-word@"))
        assert result.exit_code == 69
        assert "401" in result.stderr
        assert "pass-word" not in result.stderr


# --- what is wrong


def test_a_bridge_that_cannot_be_reached_is_told_with_what_to_do() -> None:
    url = f"http://{HOST}:{free_port()}"
    result = _status("--url", url)
    assert result.exit_code == 69
    assert re.fullmatch(
        rf"{url}: no bridge answers: .*refused; is it running, .*http\.enabled.*--url.*\n", result.stderr
    )


def test_one_that_does_not_answer_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evse_mqtt_bridge.cli.common.status_client._TIMEOUT", 0.2)
    with socket.create_server((HOST, 0)) as silent:
        result = _status("--url", f"http://{HOST}:{silent.getsockname()[1]}")
    assert result.exit_code == 69
    assert "not in time" in result.stderr


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"at": 1}', b"[" * 100_000, b"\xff"])
def test_something_else_that_answers_is_told(body: bytes) -> None:
    with served() as shown:
        shown.body = body
        result = _status("--url", shown.url)
    assert result.exit_code == 69
    assert "no bridge answers, but something else" in result.stderr


def test_one_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as shown:
        shown.body = b" " * 100_000
        monkeypatch.setattr("evse_mqtt_bridge.cli.common.status_client._LIMIT", 1000)
        result = _status("--url", shown.url)
    assert result.exit_code == 69
    assert "without an end" in result.stderr


def test_what_it_says_when_it_refuses_is_told() -> None:
    with served() as shown:
        shown.status, shown.body = 403, b"This bridge answers on\nthis machine alone.\x1b[0m"
        result = _status("--url", shown.url)
    assert result.exit_code == 69
    assert "status 403 and says: This bridge answers on this machine alone." in result.stderr


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_bridge_of_another_version_is_told(options: tuple[str, ...]) -> None:
    with served() as shown:
        content = json.loads(shown.body)
        content["bridge"]["version"] = "9.9.9"
        content["stations"] = {"by": "uuid"}
        shown.body = json.dumps(content).encode()
        result = _status("--url", shown.url, *options)
    assert result.exit_code == 69
    assert "9.9.9" in result.stderr
    assert result.stdout == ""


def test_keys_that_a_later_version_adds_are_no_matter() -> None:
    with served(*_SITE) as shown:
        content = json.loads(shown.body)
        content["stations"][0]["more"] = content["more"] = 1
        shown.body = json.dumps(content).encode()
        assert _status("--url", shown.url).exit_code == 0


# --- exit codes, filters, JSON


@pytest.mark.parametrize(
    ("changed", "plain", "check"),
    [
        ({}, 0, 0),
        ({"stations": (station("Yard", plug(reason=Reason.STALE)),)}, 0, 1),
        ({"stations": (station("Yard", reason=None),)}, 0, 1),
        ({"health": Health(healthy=True, ready=False, messages=("no connection",))}, 0, 1),
        ({"health": Health(healthy=False, ready=True, messages=("stuck",))}, 1, 1),
    ],
)
def test_exit_codes_say_how_things_are(changed: dict[str, Any], plain: int, check: int) -> None:
    with served(**{"stations": (station("Yard", plug()),), **changed}) as shown:
        for options in ((), ("--json",), ("--unavailable",)):
            assert _status("--url", shown.url, *options).exit_code == plain
            assert _status("--url", shown.url, *options, "--check").exit_code == check


def test_check_is_about_the_stations_that_were_named() -> None:
    with served(*_SITE) as shown:
        assert _status("--url", shown.url, "--check", "Garage north").exit_code == 0
        assert _status("--url", shown.url, "--check", "Garage south").exit_code == 1


@pytest.mark.parametrize("name", ["Garage south", "garage SOUTH", "garage-south", "uuid-of-garage-south"])
def test_stations_can_be_named(name: str) -> None:
    with served(*_SITE) as shown:
        result = _status("--url", shown.url, name)
    assert "of 5 plugs online" in result.stdout  # the heading is about all
    assert "Garage south" in result.stdout
    assert "Garage north" not in result.stdout


def test_a_station_that_is_not_there_is_told_with_the_nearest() -> None:
    with served(*_SITE) as shown:
        result = _status("--url", shown.url, "Garage noth")
    assert result.exit_code == 2
    assert "no station 'Garage noth'; the nearest is 'Garage north'" in result.stderr


def test_unavailable_shows_what_is_not_online_alone() -> None:
    with served(*_SITE) as shown:
        result = _status("--url", shown.url, "--unavailable")
        listed = result.stdout.partition("\n\n")[2]
        assert [name for name in ("north", "south", "Yard", "Attic") if name in listed] == ["south", "Yard", "Attic"]
        content = json.loads(_status("--url", shown.url, "--unavailable", "--json").stdout)
        assert [item["name"] for item in content["stations"]] == ["Garage south", "Yard", "Attic"]
        assert "all of it is online" in _status("--url", shown.url, "--unavailable", "Garage north").stdout


def test_a_bridge_without_stations_says_how_to_add_one() -> None:
    with served() as shown:
        assert "station add" in _status("--url", shown.url).stdout


def test_json_is_what_the_bridge_serves() -> None:
    with served(*_SITE) as shown:
        result = _status("--url", shown.url, "--json")
        assert result.stdout.encode() == shown.body + b"\n"
        named = _status("--url", shown.url, "--json", "Yard")
    content = json.loads(named.stdout)
    assert [item["name"] for item in content["stations"]] == ["Yard"]
    assert from_json(named.stdout.encode()) == picture(_SITE[2])
    assert to_json(from_json(shown.body)) == shown.body


def test_the_page_explains_every_key() -> None:
    kinds = (Snapshot, BridgeSnapshot, BrokerSnapshot, Health, StationSnapshot, PlugSnapshot)
    for key in {key for kind in kinds for key in TypeAdapter(kind).json_schema()["properties"]}:
        assert f"`{key}`" in _PAGE, key


def test_the_page_shows_what_is_drawn() -> None:
    drawn = [line.text.plain for line in heading(picture(*_SITE))] + ["", *_text(picture(*_SITE), 80)]
    assert "\n```text\n" + "\n".join(drawn) + "\n```\n" in _PAGE


def test_the_page_names_every_command() -> None:
    assert isinstance(cli, click.Group)
    for name in cli.list_commands(click.Context(cli)):
        assert f"\n| `{name}` | " in _PAGE, name


def test_a_thousand_stations_are_drawn_in_a_process_of_their_own() -> None:
    with served(*(station(f"Station {number}", plug("A"), plug("B")) for number in range(1000))) as shown:
        for columns in ("80", "160"):
            result = run_command("status", "--url", shown.url, env={"COLUMNS": columns})
            assert (result.returncode, result.stderr) == (0, "")
            lines = result.stdout.splitlines()
            assert max(map(len, lines)) <= int(columns)
            assert sum("charging  7107 W" in line for line in lines) == 2000
