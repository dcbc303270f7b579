"""`station add`, `list` and `remove`, against a real HTTP server."""

import contextlib
import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.config.load import load
from tests.cli.terminal import Terminal as PromptTerminal
from tests.harness import CloudServer, Request, status_example
from tests.harness.bridge import clean_environment
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS

TOKEN = "canary-77aa"
ADD = ("station", "add", "--edge-device-id", "edge-1", "--uuid", EXAMPLE_EVSE)
RELOAD_NOTE = "note: run `evse-mqtt-bridge reload` to apply the change to a running bridge\n"
HEAD = """\
# kept
[mqtt]
host = "localhost"   # kept too

[cloud]
base_url = "{url}"
"""


@pytest.fixture
def config(tmp_path: Path, cloud: CloudServer) -> Path:
    cloud.answer(EXAMPLE_EVSE, status_example(), token=TOKEN)
    path = tmp_path / "config.toml"
    path.write_text(HEAD.format(url=cloud.url))
    path.chmod(0o640)
    return path


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(config: Path, *arguments: str, stdin: str | bytes = "", columns: int | None = 160) -> Result:
    environ = {"EVSE_MQTT_BRIDGE_CONFIG": str(config), "COLUMNS": None if columns is None else str(columns)}
    with contextlib.chdir(config.parent):
        result = CliRunner().invoke(cli, arguments, input=stdin, env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert TOKEN not in result.output
    return Result(result.exit_code, result.stdout, result.stderr)


def test_add_station_answers_shows_plugs_and_writes(config: Path, cloud: CloudServer) -> None:
    before = config.read_text()
    result = run(config, *ADD, "--name", "Garage north", "--alias", "north", "--token-stdin", stdin=TOKEN + "\n")
    assert (result.returncode, result.stderr) == (0, RELOAD_NOTE)
    for plug, cells in zip(EXAMPLE_PLUGS, ("Plug 1 +idle +0 W", "Plug 2 +charging +7107 W"), strict=True):
        assert re.search(f"{plug} +{cells}", result.stdout)
    assert result.stdout.endswith(f"added Garage north to {config}\n")
    assert config.read_text() == before + (
        f'\n[[stations]]\nedge_device_id = "edge-1"\nuuid = "{EXAMPLE_EVSE}"\ntoken = "{TOKEN}"\n'
        'name = "Garage north"\nalias = "north"\n'
    )
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert [request.headers["evsetoken"] for request in cloud.requests] == [TOKEN]


def test_add_plug_options_give_aliases(config: Path) -> None:
    first, _ = EXAMPLE_PLUGS
    options = ("--plug", f"{first}=left", "--plug", "gone=right", "--plug-name", f"{first}=Left, bay 1")
    result = run(config, *ADD, *options, "--token-stdin", stdin=TOKEN)
    assert result.returncode == 0
    assert result.stderr == f"warning: the station has no plug gone at present\n{RELOAD_NOTE}"
    (station,) = load(config, {}).config.stations
    assert (station.plugs, station.plug_names) == ({first: "left", "gone": "right"}, {first: "Left, bay 1"})


@pytest.mark.parametrize(
    ("plugs", "code", "error"),
    [
        (["a"], 2, "expected UUID=ALIAS, once per plug"),
        (["a=x", "a=y"], 2, "expected UUID=ALIAS, once per plug"),
        (["a=x", "b=x"], 1, "--plug b: is already the alias of plug a\n"),
        (["a=x/y"], 1, "--plug a: expected 1 to 64 letters, digits, _ or -"),
        (["a/b=x"], 1, '--plug "a/b": expected a key of 1 to 64 of the characters A-Z a-z 0-9 _ -\n'),
        (["=x"], 1, '--plug "": expected a key of 1 to 64 of the characters A-Z a-z 0-9 _ -\n'),
        (["a=availability"], 1, "--plug a: cannot be info, availability_reason or availability"),
    ],
)
def test_add_invalid_plug_option_is_reported(plugs: list[str], code: int, error: str, config: Path) -> None:
    before = config.read_text()
    options = [text for plug in plugs for text in ("--plug", plug)]
    result = run(config, *ADD, *options, "--token-stdin", stdin=TOKEN)
    assert result.returncode == code
    assert error in result.stderr
    assert config.read_text() == before


def test_add_token_file_is_referred_to_relatively(config: Path) -> None:
    (config.parent / "secrets").mkdir()
    (config.parent / "secrets" / "north").write_text(TOKEN + "\n")
    assert run(config, *ADD, "--token-file", "secrets/north").returncode == 0
    assert 'token_file = "secrets/north"\n' in config.read_text()
    assert TOKEN not in config.read_text()
    assert load(config, {}).config.stations[0].token.get_secret_value() == TOKEN


@pytest.fixture
def text_with_station(config: Path) -> str:
    """The text of a configuration with a station."""
    run(config, *ADD, "--token-stdin", "--no-check", "--alias", "north", stdin="t")
    return config.read_text()


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        (
            ["--uuid", "b", "--alias", "a/b"],
            "--alias: expected 1 to 64 letters, digits, _ or - (it becomes one topic level)\n",
            1,
        ),
        (["--uuid", "b", "--alias", "north"], "--alias: is already the topic level of stations[0]\n", 1),
        (["--uuid", EXAMPLE_EVSE], f"line 8: station {EXAMPLE_EVSE} already exists; remove it first\n", 1),
        (
            ["--uuid", "b"],
            (
                "b was not added: not_found: HTTP 404 Not Found: no such station, or the path is not the API's; "
                "--no-check adds it without polling it\n"
            ),
            1,
        ),
    ],
)
def test_add_invalid_station_is_reported_and_not_written(
    options: list[str], error: str, code: int, config: Path, text_with_station: str
) -> None:
    result = run(config, "station", "add", "--edge-device-id", "e", *options, "--token-stdin", stdin=TOKEN)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", error)
    assert config.read_text() == text_with_station


def test_add_invalid_token_is_not_reported_as_an_option(config: Path) -> None:
    result = run(config, *ADD, "--token-stdin", stdin=f"{TOKEN} x")
    error = "the token: expected 1 to 4096 visible ASCII characters, no spaces (it is sent in a header)\n"
    assert (result.returncode, result.stderr) == (1, error)


@pytest.mark.parametrize(
    ("stdin", "error"),
    [
        ("", "--token-stdin: standard input is empty; expected the token."),
        ("\n", "--token-stdin: standard input is empty; expected the token."),
        (b"\xff\n", "--token-stdin: standard input is not UTF-8 text."),
    ],
)
def test_add_stdin_without_token_is_a_usage_error(stdin: str | bytes, error: str, config: Path) -> None:
    result = run(config, *ADD, "--token-stdin", stdin=stdin)
    assert result.returncode == 2
    assert error in result.stderr


def test_add_token_file_missing_names_the_option(config: Path) -> None:
    result = run(config, *ADD, "--token-file", "nowhere")
    assert (result.returncode, result.stderr) == (
        1,
        f"--token-file: {config.parent}/nowhere cannot be read: No such file or directory\n",
    )


def test_add_token_rejected_is_not_written(config: Path) -> None:
    before = config.read_text()
    result = run(config, *ADD, "--token-stdin", stdin="wrong")
    assert result.returncode == 1
    assert result.stderr.startswith(f"{EXAMPLE_EVSE} was not added: unauthorized: ")
    assert config.read_text() == before


def test_add_cloud_down_exits_with_69(config: Path, cloud: CloudServer) -> None:
    before = config.read_text()
    cloud.stop()
    result = run(config, *ADD, "--token-stdin", stdin=TOKEN)
    assert result.returncode == 69
    assert result.stderr.startswith(f"{EXAMPLE_EVSE} was not added: unreachable: connection refused; ")
    assert config.read_text() == before
    assert run(config, *ADD, "--token-stdin", "--no-check", stdin=TOKEN).returncode == 0
    assert len(load(config, {}).config.stations) == 1


def test_add_hostile_label_cannot_break_the_table(config: Path, cloud: CloudServer) -> None:
    answer = status_example()
    answer[0]["plug_label"] = "[red]\x1b[31m\nnext"
    cloud.answer(EXAMPLE_EVSE, answer)
    result = run(config, *ADD, "--token-stdin", stdin=TOKEN)
    assert "[red] [31m next" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_add_no_configuration_creates_one(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    result = run(path, *ADD, "--token-stdin", "--no-check", stdin=TOKEN)
    assert result.returncode == 0
    assert result.stderr == (
        f"note: {path} is new and expects the broker on this machine; if it is elsewhere, change host in [mqtt] "
        "(`evse-mqtt-bridge init` asks for the broker)\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = load(path, {})
    assert loaded.config.mqtt.host == "localhost"
    assert [station.uuid for station in loaded.config.stations] == [EXAMPLE_EVSE]


def test_add_file_readable_by_others_warns(config: Path) -> None:
    config.chmod(0o644)
    result = run(config, *ADD, "--token-stdin", stdin=TOKEN)
    assert result.returncode == 0
    assert result.stderr.startswith(f"warning: {config}: contains secrets that other users can read")


def test_add_wrong_configuration_is_not_edited(config: Path) -> None:
    config.write_text('[mqtt]\nhost = "h"\nhots = 1\n')
    result = run(config, *ADD, "--token-stdin", stdin=TOKEN)
    assert result.returncode == 78
    assert result.stderr.startswith(f"{config}:3: mqtt.hots: unknown key; ")
    assert config.read_text() == '[mqtt]\nhost = "h"\nhots = 1\n'


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], "The token is missing: add --token-file or --token-stdin, or use a terminal."),
        (["--token-stdin", "--token-file", "x"], "--token-file and --token-stdin exclude each other."),
        (["--token", "x"], "No such option"),
    ],
)
def test_add_token_options_invalid_is_a_usage_error(options: list[str], error: str, config: Path) -> None:
    result = run(config, *ADD, *options)
    assert result.returncode == 2
    assert error in result.stderr


# --- list


def test_list_shows_sources_of_tokens_but_no_token(config: Path, text_with_station: str) -> None:
    (config.parent / "t").write_text(TOKEN)
    config.write_text(
        text_with_station
        + f'\n[[stations]]\nedge_device_id = "2"\nuuid = "b"\ntoken = "{TOKEN}"\nname = "Tür [b]"\ninterval = 5\n'
        + 'plugs = { p = "left", q = "right" }\nplug_names = { q = "Right bay", r = "Third" }\n'
        + '\n[[stations]]\nedge_device_id = "3"\nuuid = "c"\ntoken_file = "t"\n'
    )
    rows = json.loads(run(config, "station", "list", "--json").stdout)
    assert rows[1:] == [
        {
            "name": "Tür [b]",
            "uuid": "b",
            "alias": "",
            "edge_device_id": "2",
            "interval": 5,
            "token": "set",
            "plugs": {"p": "left", "q": "right"},
            "plug_names": {"q": "Right bay", "r": "Third"},
        },
        {
            "name": "",
            "uuid": "c",
            "alias": "",
            "edge_device_id": "3",
            "interval": 30,
            "token": "file",
            "plugs": {},
            "plug_names": {},
        },
    ]
    table = run(config, "station", "list").stdout.splitlines()
    assert table[0].split() == ["name", "uuid", "alias", "edge", "device", "interval", "token", "plugs"]
    assert re.search(rf"{EXAMPLE_EVSE} +north +edge-1 +30 +set", table[1])
    assert re.search(r"Tür \[b\] +b +2 +5 +set +left, right \(Right bay\), r \(Third\)$", table[2])
    assert re.search(r" c +3 +30 +file", table[3])


def test_list_narrow_terminal_never_breaks_a_uuid(config: Path, text_with_station: str) -> None:
    config.write_text(text_with_station + f'\n[[stations]]\nedge_device_id = "2"\nuuid = "b"\ntoken = "{TOKEN}"\n')
    lines = [
        EXAMPLE_EVSE,
        f"  uuid         {EXAMPLE_EVSE}",
        "  alias        north",
        "  edge device  edge-1",
        "  interval     30",
        "  token        set",
        "b",
        "  uuid         b",
        "  edge device  2",
        "  interval     30",
        "  token        set",
    ]
    assert run(config, "station", "list", columns=70).stdout.splitlines() == lines
    in_a_pipe = run(config, "station", "list", columns=None).stdout.splitlines()
    assert len(in_a_pipe) == 3
    assert EXAMPLE_EVSE in in_a_pipe[1]


def test_list_no_station_suggests_station_add(config: Path) -> None:
    assert run(config, "station", "list").stdout == (
        "no station is configured; add one with `evse-mqtt-bridge station add`\n"
    )
    assert run(config, "station", "list", "--json").stdout == "[]\n"


# --- remove


@pytest.mark.parametrize("name", [EXAMPLE_EVSE, "north"])
@pytest.mark.usefixtures("text_with_station")
def test_remove_station_keeps_the_rest_of_the_file(name: str, config: Path, cloud: CloudServer) -> None:
    result = run(config, "station", "remove", name)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"removed north from {config}\n", RELOAD_NOTE)
    assert config.read_text() == HEAD.format(url=cloud.url)


def test_remove_station_without_its_token_file_succeeds(config: Path) -> None:
    text = config.read_text()
    config.write_text(text + '\n[[stations]]\nedge_device_id = "1"\nuuid = "a"\ntoken_file = "gone"\n')
    assert run(config, "station", "list").returncode == 78
    assert run(config, "station", "remove", "a").returncode == 0
    assert config.read_text() == text


def test_remove_wrong_configuration_names_original_lines(config: Path, text_with_station: str) -> None:
    config.write_text(text_with_station + "\n[log]\nlevel = 1\n")
    result = run(config, "station", "remove", "north")
    assert result.returncode == 78
    line = text_with_station.count("\n") + 3
    assert result.stderr.startswith(f"{config}:{line}: log.level: expected ")
    assert EXAMPLE_EVSE in config.read_text()


def test_remove_unknown_station_is_reported(config: Path) -> None:
    result = run(config, "station", "remove", "x")
    assert (result.returncode, result.stderr) == (
        1,
        "no station has the uuid, alias or name 'x'; run `evse-mqtt-bridge station list`\n",
    )


# --- in a terminal


def test_add_keeps_what_other_commands_change_meanwhile(config: Path, cloud: CloudServer) -> None:
    """Another command adds a station between the poll and the save of this one."""
    other = '[[stations]]\nedge_device_id = "e"\nuuid = "other"\ntoken = "t"\n'

    def add_other(_request: Request) -> list[Any]:
        config.write_text(config.read_text() + other)
        return status_example()

    cloud.answer(EXAMPLE_EVSE, add_other)
    assert run(config, *ADD, "--token-stdin", stdin=TOKEN).returncode == 0
    assert [station.uuid for station in load(config, {}).config.stations] == ["other", EXAMPLE_EVSE]


def test_add_of_a_station_that_was_added_meanwhile_is_an_error(config: Path, cloud: CloudServer) -> None:
    other = f'[[stations]]\nedge_device_id = "e"\nuuid = "{EXAMPLE_EVSE}"\ntoken = "t"\n'

    def add_other(_request: Request) -> list[Any]:
        config.write_text(config.read_text() + other)
        return status_example()

    cloud.answer(EXAMPLE_EVSE, add_other)
    result = run(config, *ADD, "--token-stdin", stdin=TOKEN)
    assert (result.returncode, "already exists" in result.stderr) == (1, True)
    assert config.read_text().count(EXAMPLE_EVSE) == 1


def test_parallel_adds_lose_no_station(config: Path) -> None:
    uuids = [f"{number:032x}" for number in range(6)]
    options = ("--edge-device-id", "e", "--token-stdin", "--no-check")
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "evse_mqtt_bridge", "station", "add", *options, "--uuid", uuid],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=config.parent,
            env=clean_environment(),
        )
        for uuid in uuids
    ]
    for command in commands:
        command.communicate(TOKEN.encode(), timeout=30)
    assert [command.returncode for command in commands] == [0] * len(uuids)
    assert sorted(station.uuid for station in load(config, {}).config.stations) == uuids


Terminal = Callable[..., tuple[int, str]]


@pytest.fixture
def terminal(config: Path) -> Iterator[Terminal]:
    """Run a command in a terminal and type one line at a prompt."""
    ours, theirs = pty.openpty()

    def start(*arguments: str, prompt: str, typed: str) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "evse_mqtt_bridge", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=config.parent,
            env=clean_environment(),
        )
        output = b""
        while prompt.encode() not in output:
            output += os.read(ours, 4096)
        os.write(ours, typed.encode())
        code = process.wait(20)
        os.set_blocking(ours, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                output += os.read(ours, 4096)
        return code, output.decode().replace("\r\n", "\n")

    yield start
    os.close(ours)
    os.close(theirs)


def test_add_prompts_for_token_and_plug_aliases(config: Path) -> None:
    first, second = EXAMPLE_PLUGS
    with PromptTerminal(*ADD, cwd=config.parent) as terminal:
        terminal.answer("Display name (empty: none): ", "Garage north")
        terminal.answer("Alias, replaces the UUID in topics (- for none) [garage-north]: ", "")
        terminal.answer("Token (hidden): ", f"{TOKEN} x")
        terminal.expect("  expected 1 to 4096 visible ASCII characters, no spaces (it is sent in a header)\n")
        terminal.answer("Token (hidden): ", TOKEN)
        terminal.expect("Plug 2  charging  7107 W")
        terminal.answer("Name of Plug 1 (empty: the label): ", "")
        terminal.answer("Alias of Plug 1 (- for none) [plug-1]: ", "left")
        terminal.answer("Name of Plug 2 (empty: the label): ", "Right bay")
        terminal.answer("Alias of Plug 2 (- for none) [right-bay]: ", "left")
        terminal.expect(f"  is already the alias of plug {first}\n")
        terminal.answer("Alias of Plug 2 (- for none) [right-bay]: ", "")
        assert terminal.wait() == 0, terminal.output
        assert TOKEN not in terminal.output
    (station,) = load(config, {}).config.stations
    assert station.token.get_secret_value() == TOKEN
    assert (station.name, station.alias) == ("Garage north", "garage-north")
    assert station.plugs == {first: "left", second: "right-bay"}
    assert station.plug_names == {second: "Right bay"}
    assert f'plugs = {{ {first} = "left", {second} = "right-bay" }}\n' in config.read_text()


def test_add_plug_options_answer_the_prompts(config: Path) -> None:
    _, second = EXAMPLE_PLUGS
    options = ("--plug", f"{second}=right", "--plug-name", f"{second}=Right bay")
    with PromptTerminal(*ADD, "--name", "Yard", "--alias", "yard", *options, cwd=config.parent) as terminal:
        terminal.answer("Token (hidden): ", TOKEN)
        terminal.answer("Name of Plug 1 (empty: the label): ", "")
        terminal.answer("Alias of Plug 1 (- for none) [plug-1]: ", "-")
        assert terminal.wait() == 0, terminal.output
    (station,) = load(config, {}).config.stations
    assert (station.plugs, station.plug_names) == ({second: "right"}, {second: "Right bay"})


def test_add_no_input_prompts_for_nothing(config: Path) -> None:
    (config.parent / "token").write_text(TOKEN)
    (config.parent / "token").chmod(0o600)
    with PromptTerminal(*ADD, "--token-file", "token", "--no-input", cwd=config.parent) as terminal:
        assert terminal.wait() == 0, terminal.output
    with PromptTerminal(*ADD[:-1], "b", "--no-input", cwd=config.parent) as terminal:
        assert terminal.wait() == 2
        assert "The token is missing" in terminal.output


@pytest.mark.usefixtures("text_with_station")
def test_add_alias_in_use_is_prompted_for_again(config: Path) -> None:
    with PromptTerminal(*ADD[:-1], "b", "--name", "North", "--no-check", cwd=config.parent) as terminal:
        terminal.answer("in topics (- for none) [north]: ", "")
        terminal.expect("  is already the topic level of stations[0]\n")
        terminal.answer("in topics (- for none) [north]: ", "-")
        terminal.answer("Token (hidden): ", TOKEN)
        assert terminal.wait() == 0, terminal.output
    assert [station.alias for station in load(config, {}).config.stations] == ["north", ""]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--uuid", "b", "--alias", "north"], "--alias: is already the topic level of stations[0]\n"),
        (["--uuid", EXAMPLE_EVSE], f"line 8: station {EXAMPLE_EVSE} already exists; remove it first\n"),
        (["--uuid", "b", "--plug", "p=info"], "--plug p: cannot be info, "),
        (["--uuid", "b", "--plug-name", "p="], "--plug-name p: expected one line of text"),
    ],
)
@pytest.mark.usefixtures("text_with_station")
def test_add_invalid_option_is_reported_before_the_token(options: list[str], error: str, config: Path) -> None:
    with PromptTerminal("station", "add", "--edge-device-id", "e", *options, cwd=config.parent) as terminal:
        terminal.expect(error)
        assert terminal.wait() == 1
        assert "Token" not in terminal.output


@pytest.mark.parametrize(("typed", "code", "count"), [("n\n", 1, 1), ("y\n", 0, 0)])
@pytest.mark.usefixtures("text_with_station")
def test_remove_asks_for_confirmation(typed: str, code: int, count: int, config: Path, terminal: Terminal) -> None:
    got, output = terminal("station", "remove", "north", prompt="[y/N]: ", typed=typed)
    assert got == code, output
    assert f"Remove north ({EXAMPLE_EVSE}) from config.toml? [y/N]: " in output
    assert len(load(config, {}).config.stations) == count
