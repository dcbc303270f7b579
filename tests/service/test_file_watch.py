"""`run --watch`: the bridge reloads when a file of its configuration changes, however it is replaced."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from tests.harness import BridgeProcess, CloudServer, Observer
from tests.harness.bridge import run_command
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import write_config

_AVAILABILITY = "evse/bridge/availability"
_OTHER = "other/bridge/availability"


def _projected(folder: Path, name: str, text: str) -> Path:
    """Replace a file as Kubernetes does, through a link to a folder; return its path."""
    version = folder / f"..{len(list(folder.glob('..[0-9]*')))}"
    version.mkdir(parents=True)
    (version / name).write_text(text)
    (version / name).chmod(0o600)
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / name).is_symlink():
        (folder / name).symlink_to(f"..data/{name}")
    return folder / name


def _overwritten(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).touch(mode=0o600)
    (folder / name).write_text(text)
    return folder / name


def _edited(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    return write_config(folder / name, tomlkit.parse(text))


@pytest.mark.parametrize("write", [_projected, _overwritten, _edited])
def test_watched_configuration_is_reloaded(
    tmp_path: Path, tables: dict[str, Any], observer: Observer, write: Callable[[Path, str, str], Path]
) -> None:
    folder = tmp_path / "config"
    config = write(folder, "config.toml", tomlkit.dumps(tables))
    with BridgeProcess.run(config, "--watch") as bridge:
        observer.wait_for(_AVAILABILITY, "online")
        tables["mqtt"]["base_topic"] = "other"
        write(folder, "config.toml", tomlkit.dumps(tables))
        observer.wait_for(_OTHER, "online")
        write(folder, "config.toml", tomlkit.dumps({**tables, "mqtt": {"host": ""}}))
        bridge.wait_for_line("reload failed")
        tables["mqtt"]["base_topic"] = "evse"
        write(folder, "config.toml", tomlkit.dumps(tables))
        observer.wait_for(_AVAILABILITY, "online")
        bridge.stop()
        assert bridge.stderr_text.count("configuration reloaded") == 2


def test_watched_token_file_is_reloaded_before_a_rejection(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer
) -> None:
    token = _projected(tmp_path / "secrets", "token", f"token-{EXAMPLE_EVSE}")
    del tables["stations"][0]["token"]
    tables["stations"][0] |= {"token_file": str(token), "interval": 600}
    with BridgeProcess.run(write_config(tmp_path / "config.toml", tables), "--watch") as bridge:
        observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
        (tmp_path / "secrets" / "unrelated").write_text("nothing")
        cloud.answer(EXAMPLE_EVSE, status_example(), token="new")
        _projected(tmp_path / "secrets", "token", "new")
        requests = cloud.wait_for_requests(2, EXAMPLE_EVSE)
        assert [request.headers["evsetoken"] for request in requests] == [f"token-{EXAMPLE_EVSE}", "new"]
        bridge.wait_for_line("configuration reloaded")
        bridge.stop()
        assert bridge.stderr_text.count("configuration reloaded") == 1


def test_watch_without_watchfiles_names_the_extra(tmp_path: Path, tables: dict[str, Any]) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "watchfiles.py").write_text("raise ImportError")
    config = write_config(tmp_path / "config.toml", tables)
    env = {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    result = run_command("run", "--config", config, "--watch", env=env)
    assert result.returncode == 78
    assert "pip install 'evse-mqtt-bridge[watch]'" in result.stderr
