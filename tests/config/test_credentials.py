"""Secrets that systemd hands over take the place of files beside the configuration."""

from pathlib import Path

import pytest

from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.support.errors import ConfigError

TEXT = """
[mqtt]
host = "localhost"
username = "bridge"
password_file = "secrets/mqtt.password"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    (folder / "secrets").mkdir(parents=True)
    (folder / "config.toml").write_text(TEXT)
    return folder


def _password(folder: Path, environ: dict[str, str]) -> str:
    password = load(folder / "config.toml", environ).config.mqtt.password
    assert password is not None
    return password.get_secret_value()


def test_a_credential_takes_the_place_of_the_file_of_its_name(folder: Path, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "secrets_mqtt.password").write_text("handed over\n")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert _password(folder, environ) == "handed over"
    (folder / "secrets/mqtt.password").write_text("beside\n")
    assert _password(folder, environ) == "handed over"
    assert _password(folder, {}) == "beside"
    (credentials / "secrets_mqtt.password").unlink()
    assert _password(folder, environ) == "beside"


def test_where_neither_is_there_the_file_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"etc/secrets/mqtt\.password cannot be read"):
        load(folder / "config.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
