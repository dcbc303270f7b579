"""Rejected secrets are noted, and read again once."""

from pathlib import Path

import pytest

from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.events import BrokerDisconnected, DisconnectReason, TokenRejected
from evse_mqtt_bridge.service.rotation import Rotation

_UUID = "a" * 32


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Config:
    (tmp_path / "config.toml").write_text(
        '[mqtt]\nhost = "localhost"\nusername = "me"\npassword_file = "password"\n'
        f'[[stations]]\nedge_device_id = "1"\nuuid = "{_UUID}"\ntoken_file = "token"\n'
    )
    for name in ("password", "token"):
        (tmp_path / name).write_text("old")
    config = load(tmp_path / "config.toml", {}).config
    for name in ("password", "token"):
        (tmp_path / name).write_text("new")
    return config


async def test_rejected_token_is_read_again_once(config: Config) -> None:
    rotation = Rotation()
    rotation.token_rejected(TokenRejected(_UUID))
    assert rotation.requested.is_set()
    assert (await rotation.reread(config)).replaced == ("stations[0].token_file",)
    assert not rotation.requested.is_set()
    assert (await rotation.reread(config)).replaced == ()


@pytest.mark.parametrize("reason", DisconnectReason)
async def test_only_a_rejected_login_leads_to_the_password(config: Config, reason: DisconnectReason) -> None:
    rotation = Rotation()
    rotation.broker_disconnected(BrokerDisconnected(reason, "detail", 1.0))
    is_login = reason is DisconnectReason.LOGIN
    assert rotation.requested.is_set() is is_login
    assert (await rotation.reread(config)).replaced == (("mqtt.password_file",) if is_login else ())


async def test_removed_station_is_not_read(config: Config) -> None:
    rotation = Rotation()
    rotation.token_rejected(TokenRejected("removed"))
    result = await rotation.reread(config)
    assert (result.config, result.replaced, result.errors) == (config, (), ())
