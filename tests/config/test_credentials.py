"""Systemd credentials take precedence over secret files in the directory of the configuration."""

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


def test_credential_overrides_file_with_same_name(folder: Path, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "secrets_mqtt.password").write_text("from systemd\n")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert _password(folder, environ) == "from systemd"
    (folder / "secrets/mqtt.password").write_text("from file\n")
    assert _password(folder, environ) == "from systemd"
    assert _password(folder, {}) == "from file"
    (credentials / "secrets_mqtt.password").unlink()
    assert _password(folder, environ) == "from file"


def test_missing_credential_and_file_report_the_file(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"etc/secrets/mqtt\.password cannot be read"):
        load(folder / "config.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
