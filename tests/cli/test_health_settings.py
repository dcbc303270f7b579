"""The settings of `health`, read without the schema, are those that the schema reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.cli.common.health_settings import HealthSettings, read_health_settings
from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.config.schema import Http, Mqtt
from evse_mqtt_bridge.support.errors import ConfigError

_BROKER = '[mqtt]\nhost = "localhost"\n'
_PREFIX = "EVSE_MQTT_BRIDGE__"


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def _of_loader(path: Path | None, environ: Mapping[str, str]) -> HealthSettings:
    config = load(path, environ).config
    return HealthSettings(config.http.enabled, config.http.host, config.http.port, config.mqtt.client_id)


def test_health_settings_defaults_are_those_of_the_schema() -> None:
    http, mqtt = Http(), Mqtt(host="localhost")
    assert HealthSettings() == HealthSettings(http.enabled, http.host, http.port, mqtt.client_id)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (_BROKER, {}),
        (f"\ufeff{_BROKER}", {}),
        (f'{_BROKER}client_id = "süd #2"\n[http]\nhost = "0.0.0.0"\nport = 1\nenabled = false\n', {}),
        (f'{_BROKER}[http]\nhost = "::"\nport = 65535\n', {}),
        (f'{_BROKER}[http]\nhost = "bridge.example.com"\n', {f"{_PREFIX}HTTP__PORT": "9481"}),
        ('[mqtt]\nclient_id = "a"\n', {f"{_PREFIX}MQTT__HOST": "broker", f"{_PREFIX}MQTT__CLIENT_ID": "b"}),
        (_BROKER, {f"{_PREFIX.lower()}http__enabled": "False", f"{_PREFIX}HTTP__HOST": "::1"}),
        (f"{_BROKER}[http]\nport = 0\n", {f"{_PREFIX}HTTP__PORT": "80"}),
        (
            _BROKER,
            {f"{_PREFIX}HTTP__PORT": '"80"', f"{_PREFIX}HTTP__HOST": "'::1'", f"{_PREFIX}MQTT__CLIENT_ID": '"c"'},
        ),
    ],
)
def test_read_health_settings_valid_agrees_with_loader(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    path = _write(tmp_path, text)
    settings = read_health_settings(path, environ)
    assert settings is not None
    assert settings == _of_loader(path, environ)


def test_read_health_settings_environment_agrees_with_loader() -> None:
    environ = {f"{_PREFIX}MQTT__HOST": "broker", f"{_PREFIX}HTTP__PORT": "9999"}
    assert read_health_settings(None, environ) == _of_loader(None, environ)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("[mqtt\n", {}),
        ("", {}),
        ("mqtt = 1\n", {}),
        (f"http = 1\n{_BROKER}", {}),
        (f"{_BROKER}[http]\nport = 0\n", {}),
        (f"{_BROKER}[http]\nport = 65536\n", {}),
        (f"{_BROKER}[http]\nport = true\n", {}),
        (f'{_BROKER}[http]\nport = "9480"\n', {}),
        (f"{_BROKER}[http]\nenabled = 1\n", {}),
        (f'{_BROKER}[http]\nhost = "a b"\n', {}),
        (f'{_BROKER}[http]\nhost = "localhost:9480"\n', {}),
        (f'{_BROKER}[http]\nhost = ""\n', {}),
        (f"{_BROKER}[http]\nprot = 9480\n", {}),
        (f'{_BROKER}client_id = ""\n', {}),
        (f"{_BROKER}client_id = 1\n", {}),
        (f'{_BROKER}client_id = "a\\nb"\n', {}),
        (f'{_BROKER}client_id = "{"a" * 129}"\n', {}),
        (_BROKER, {f"{_PREFIX}HTTP__PORT": "many"}),
        (_BROKER, {f"{_PREFIX}HTTP__PROT": "9480"}),
        (_BROKER, {f"{_PREFIX}HTTP": '{"port": 0}'}),
        (_BROKER, {f"{_PREFIX}HTTP__PORT": "9480", f"{_PREFIX}http__port": "9481"}),
    ],
)
def test_read_health_settings_wrong_is_left_to_the_loader(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    path = _write(tmp_path, text)
    assert read_health_settings(path, environ) is None
    with pytest.raises(ConfigError):
        load(path, environ)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f'{_BROKER}[http]\nhost = "[::1]"\n', {}),
        (_BROKER, {f"{_PREFIX}HTTP": '{"port": 9481}'}),
        (_BROKER, {f"{_PREFIX}MQTT": '{"host": "broker", "client_id": "b"}'}),
    ],
)
def test_read_health_settings_unusual_is_left_to_the_loader(tmp_path: Path, text: str, environ: dict[str, Any]) -> None:
    path = _write(tmp_path, text)
    assert read_health_settings(path, environ) is None
    assert _of_loader(path, environ)


def test_read_health_settings_file_missing_is_left_to_the_loader(tmp_path: Path) -> None:
    assert read_health_settings(tmp_path / "missing.toml", {}) is None
