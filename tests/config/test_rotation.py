"""Secrets are read again from their files: only the rejected ones, and only valid ones are used."""

from dataclasses import replace
from pathlib import Path

import pytest

from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.config.rotation import has_file, reread
from evse_mqtt_bridge.config.schema import Config

_FIRST, _SECOND, _THIRD = "a" * 32, "b" * 32, "c" * 32

_TEXT = f"""
[mqtt]
host = "localhost"
username = "bridge"
password_file = "password"

[[stations]]
edge_device_id = "1"
uuid = "{_FIRST}"
token_file = "first"

[[stations]]
edge_device_id = "1"
uuid = "{_SECOND}"
token_file = "second"
plugs = {{ p1 = "left" }}

[[stations]]
edge_device_id = "1"
uuid = "{_THIRD}"
token = "third"
"""


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Config:
    (tmp_path / "config.toml").write_text(_TEXT)
    for name in ("password", "first", "second"):
        (tmp_path / name).write_text(f"old-{name}\n")
    return load(tmp_path / "config.toml", {}).config


def test_reread_replaces_changed_secrets_alone(config: Config, tmp_path: Path) -> None:
    for name in ("password", "first", "second"):
        (tmp_path / name).write_text(f"new-{name}\n")
    result = reread(config, stations={_SECOND, _THIRD}, password=True)
    assert result.replaced == ("mqtt.password_file", "stations[1].token_file")
    assert result.errors == ()
    password = result.config.mqtt.password
    assert password is not None
    assert password.get_secret_value() == "new-password"
    tokens = [entry.token.get_secret_value() for entry in result.config.stations]
    assert tokens == ["old-first", "new-second", "third"]
    changed = replace(result.config.stations[1], token=config.stations[1].token)
    assert changed == config.stations[1], "nothing else changes"


def test_reread_of_unchanged_secrets_returns_the_configuration(config: Config) -> None:
    result = reread(config, stations={_FIRST, _SECOND, _THIRD}, password=True)
    assert result.config is config
    assert (result.replaced, result.errors) == ((), ())


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"with space", "visible ASCII"),
        (b"\xff", "UTF-8"),
    ],
)
def test_reread_of_an_unusable_file_keeps_the_secret(
    config: Config, tmp_path: Path, content: bytes | None, error: str
) -> None:
    if content is None:
        (tmp_path / "first").unlink()
    else:
        (tmp_path / "first").write_bytes(content)
    (tmp_path / "second").write_text("new")
    result = reread(config, stations={_FIRST, _SECOND}, password=False)
    assert result.replaced == ("stations[1].token_file",)
    assert [entry.token.get_secret_value() for entry in result.config.stations] == ["old-first", "new", "third"]
    (line,) = result.errors
    assert line.startswith("stations[0].token_file: ")
    assert error in line
    assert "with space" not in line


def test_has_file_is_true_for_secrets_in_files(config: Config) -> None:
    assert has_file(config, stations={_FIRST}, password=False)
    assert has_file(config, stations=set(), password=True)
    assert not has_file(config, stations={_THIRD, "unknown"}, password=False)
    without = config.model_copy(update={"mqtt": config.mqtt.model_copy(update={"password_file": ""})})
    assert not has_file(without, stations=set(), password=True)
