"""Commands in unusual environments: closed streams, limited encodings, unreadable files."""

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
def test_command_stream_closed_still_succeeds(config: Path, closed: int) -> None:
    result = _run("station", "remove", "--yes", "u", "--config", config, closed=closed)
    assert (result.returncode, b"Traceback" in result.stderr) == (0, False)
    assert _STATION not in config.read_text()


@pytest.mark.parametrize("command", [("station", "list"), ("station", "remove", "--yes", "u")])
def test_command_unencodable_output_is_replaced(config: Path, command: tuple[str, ...]) -> None:
    result = _run(*command, "--config", config, env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert result.returncode == 0
    assert not [line for line in result.stderr.splitlines() if not line.startswith(b"note: ")]
    assert "Säule ?".encode("latin-1") in result.stdout


def test_command_file_access_is_left_to_the_loader(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, which click would use, makes a service manager restart the bridge again and again."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert CliRunner().invoke(cli, ["check", "--config", str(config)]).exit_code == 0


def test_command_variable_with_quotes_names_the_file(config: Path) -> None:
    """As in the file of `docker run --env-file`, which keeps quotes."""
    result = CliRunner().invoke(cli, ["check"], env={"EVSE_MQTT_BRIDGE_CONFIG": f'"{config}"'})
    assert (result.exit_code, f"{config} is valid" in result.output) == (0, True)
    result = CliRunner().invoke(cli, ["check", "--config", f'"{config}"'])
    assert (result.exit_code, "no such file" in result.output) == (78, True)
