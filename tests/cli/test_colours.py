"""Every command obeys NO_COLOR, FORCE_COLOR and TERM, in terminals and in pipes."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.snapshots import plug, serve_snapshot, station
from tests.harness.bridge import clean_environment
from tests.harness.net import HOST, free_port

_ESCAPE = b"\x1b"
_COMMAND = (sys.executable, "-m", "evse_mqtt_bridge")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a broker and a cloud that refuse connections."""
    path = tmp_path / "config.toml"
    station = '[[stations]]\nedge_device_id = "e"\nuuid = "u"\ntoken = "t"\n'
    port = free_port()
    path.write_text(
        f'[mqtt]\nhost = "{HOST}"\nport = {port}\n[cloud]\nbase_url = "http://{HOST}:{port}"\n[http]\nenabled = false\n'
        + station
    )
    path.chmod(0o600)
    return path


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    inherited = clean_environment({"TERM": "xterm-256color"})
    return {**{name: value for name, value in inherited.items() if name not in ("NO_COLOR", "FORCE_COLOR")}, **env}


def _terminal_output(*arguments: str | Path, env: Mapping[str, str], until: bytes = b"") -> bytes:
    """Return what a command writes to a terminal, until it writes a text and is stopped, or until it exits."""
    ours, theirs = pty.openpty()
    command = [*_COMMAND, *map(str, arguments)]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=_environment(env)) as process:
        os.close(theirs)
        output = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(ours, 65536):
                output += data
                if until and until in output:
                    process.terminate()
    os.close(ours)
    assert until in output, output
    return output


def _pipe_output(*arguments: str | Path, env: Mapping[str, str]) -> bytes:
    command = [*_COMMAND, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, env=_environment(env), timeout=30, check=False)
    return result.stdout + result.stderr


@pytest.mark.parametrize(
    ("env", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"FORCE_COLOR": "1"}, True)],
)
def test_run_in_terminal_has_colours_as_wanted(config: Path, env: dict[str, str], *, expected: bool) -> None:
    output = _terminal_output("run", "--config", config, env=env, until=b"broker unreachable")
    assert (_ESCAPE in output) is expected


@pytest.mark.parametrize(("env", "expected"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
@pytest.mark.parametrize("command", ["status", "check"])
def test_command_in_terminal_has_colours_as_wanted(
    config: Path, env: dict[str, str], command: str, *, expected: bool
) -> None:
    with serve_snapshot(station("Yard", plug())) as page:
        options = ("--url", page.url) if command == "status" else ("--online", "--config", config)
        assert (_ESCAPE in _terminal_output(command, *options, env=env)) is expected


@pytest.mark.parametrize(("env", "expected"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
@pytest.mark.parametrize("command", ["status", "check"])
def test_command_in_pipe_has_colours_if_forced(
    config: Path, env: dict[str, str], command: str, *, expected: bool
) -> None:
    with serve_snapshot(station("Yard", plug())) as page:
        options = ("--url", page.url) if command == "status" else ("--online", "--config", config)
        assert (_ESCAPE in _pipe_output(command, *options, env=env)) is expected


def test_watch_in_pipe_is_refused_even_with_forced_colours() -> None:
    output = _pipe_output("watch", "--url", f"http://{HOST}:{free_port()}", env={"FORCE_COLOR": "1"})
    assert (b"not a terminal" in output, b"\x1b[?" in output) == (True, False)
