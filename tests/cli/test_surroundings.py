"""Where a command stands: streams that are closed, letters that cannot be written, files that may not be read."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from evse_mqtt_bridge.cli.main import cli
from tests.harness.bridge import clean_environment

_STATION = '[[stations]]\nedge_device_id = "e"\nuuid = "u"\ntoken = "t"\nname = "Säule 北"\n'
_COMMAND = (sys.executable, "-m", "evse_mqtt_bridge")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f'[mqtt]\nhost = "localhost"\n{_STATION}')
    path.chmod(0o600)
    return path


def _run(
    *arguments: str | Path, closed: int | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    script = f'exec "$@" {closed}>&-' if closed is not None else 'exec "$@"'
    command = ["sh", "-c", script, "sh", *_COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=clean_environment(env), capture_output=True, timeout=30, check=False)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_stream_that_is_closed_costs_what_would_have_gone_there_alone(config: Path, closed: int) -> None:
    ended = _run("station", "remove", "--yes", "u", "--config", config, closed=closed)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False)
    assert _STATION not in config.read_text()


@pytest.mark.parametrize("command", [("station", "list"), ("station", "remove", "--yes", "u")])
def test_letters_that_cannot_be_written_are_replaced(config: Path, command: tuple[str, ...]) -> None:
    ended = _run(*command, "--config", config, env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "Säule ?".encode("latin-1") in ended.stdout


def test_whether_a_file_may_be_read_is_seen_when_it_is_read(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by click before: its exit code is 2, after which a service manager would start the bridge again for ever."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert CliRunner().invoke(cli, ["check", "--config", str(config)]).exit_code == 0
